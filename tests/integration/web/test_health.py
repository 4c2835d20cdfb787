"""Health: the process serves, and jobs can be accepted."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from sealwax.aws.clients import Aws


def test_an_api_without_its_ledger_is_alive_and_not_ready(
    app: Flask, client: FlaskClient, aws: Aws
) -> None:
    assert client.get("/readyz").get_json() == {"status": "ready"}
    settings = app.extensions["sealwax"].settings
    aws.client("dynamodb").delete_table(TableName=settings.table_name("jobs"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.get_json() == {"status": "not ready", "ledger": "LedgerDenied"}
    assert client.get("/healthz").get_json() == {"status": "ok"}
