"""One app for all tests of a module: each makes its own tokens and jobs."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.console import sign_in


@pytest.fixture(scope="module")
def app(shared_app: Flask) -> Flask:
    return shared_app


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
