"""One app for all tests of the console in this process: each makes its own tokens and jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.aws import settings_for
from support.console import sign_in

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.local.emulator import Emulator
from sealwax.provision import provision
from sealwax.secrets.factory import make_source
from sealwax.settings import load_settings
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


@pytest.fixture(scope="module")
def app(ministack: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        environment = settings_for(
            monkeypatch, tmp_path_factory.mktemp("console"), ministack.url
        ).environment
        settings = load_settings(environment=environment, tasks=ROUTES)
        aws = Aws()
        provision(settings, aws)
        source = make_source(settings, aws)
        init_keys(settings, source)
        source.put("app/webhooks/plain", "whsec_" + "c2VjcmV0" * 4)
        app = create_app(settings)
        # Within the context: clients are made when they are first needed.
        yield app
        app.extensions["sealwax"].runtime.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def signed_in(app: Flask, *scopes: str) -> FlaskClient:
    client = app.test_client()
    token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=scopes).token
    assert sign_in(client, token).status_code == 303
    return client


@pytest.fixture
def reader(app: Flask) -> FlaskClient:
    """Somebody who may look."""
    return signed_in(app, "ops:read")


@pytest.fixture
def operator(app: Flask) -> FlaskClient:
    """Somebody who may act."""
    return signed_in(app, "ops:read", "ops:write")
