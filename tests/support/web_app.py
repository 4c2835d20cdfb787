"""Fixtures of the HTTP edge: the app on emulated AWS, driven through Flask's test client.

A room's conftest imports those that it needs. `app` is each test's own, since it may break
what it likes. To make one takes two seconds: tests marked `shared_app` (or those of a module
so marked) share their module's, make their own tokens and jobs and leave all else as it was;
of these, tests marked `own_app` have one of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from flask.testing import FlaskClient

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.local.emulator import Emulator
from sealwax.provision import provision
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.web.app import create_app
from support.aws import settings_for

__all__ = ["app", "auth", "client", "own_app", "serving", "settings", "shared_app", "token"]

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


@contextmanager
def serving(settings: Settings) -> Iterator[Flask]:
    source = make_source(settings, Aws())
    init_keys(settings, source)
    source.put("app/webhooks/plain", "whsec_" + "c2VjcmV0" * 4)
    app = create_app(settings)
    yield app
    app.extensions["sealwax"].runtime.close()


@pytest.fixture
def settings(provisioned: Settings) -> Settings:
    return load_settings(
        environment=provisioned.environment, tasks=ROUTES, limits={"request_bytes": 4096}
    )


@pytest.fixture
def own_app(settings: Settings) -> Iterator[Flask]:
    with serving(settings) as served:
        yield served


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Flask:
    marked = request.node.get_closest_marker
    shared = marked("shared_app") and not marked("own_app")
    made: Flask = request.getfixturevalue("shared_app" if shared else "own_app")
    return made


@pytest.fixture(scope="module")
def shared_app(ministack: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("app")
        environment = settings_for(monkeypatch, folder, ministack.url).environment
        settings = load_settings(
            environment=environment, tasks=ROUTES, limits={"request_bytes": 4096}
        )
        provision(settings, Aws())
        # Within the context: clients are made when they are first needed.
        with serving(settings) as served:
            yield served


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token(app: Flask) -> str:
    tokens = app.extensions["sealwax"].tokens
    return str(tokens.issue(tenant="acme", scopes=["jobs:submit", "jobs:read"]).token)


@pytest.fixture
def auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
