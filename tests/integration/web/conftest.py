"""The app with real AWS protocols behind it, driven through Flask's test client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.web.app import create_app

ROUTES = {
    "webhooks": {
        "default_route": "plain",
        "routes": {
            "plain": {
                "url": "http://127.0.0.1:9/hooks/plain",
                "secret": "app/webhooks/plain",
                "rule": {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [9]},
            }
        },
    }
}


@pytest.fixture
def settings(provisioned: Settings) -> Settings:
    return load_settings(
        environment=provisioned.environment, tasks=ROUTES, limits={"request_bytes": 4096}
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    source = make_source(settings, Aws())
    init_keys(settings, source)
    source.put("app/webhooks/plain", "whsec_" + "c2VjcmV0" * 4)
    app = create_app(settings)
    yield app
    app.extensions["sealwax"].runtime.close()


@pytest.fixture
def client(app: Flask):
    return app.test_client()


@pytest.fixture
def token(app: Flask) -> str:
    tokens = app.extensions["sealwax"].tokens
    return tokens.issue(tenant="acme", scopes=["jobs:submit", "jobs:read"]).token


@pytest.fixture
def auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
