"""The templates' policies put to work: each call of each client is checked before it leaves.

Emulators look at actions alone, or at nothing. What the policies of somebody and of a key,
bucket or queue would refuse on AWS fails here as AWS would fail it; what S3 would
not tell them is there, S3 does not tell.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sealwax.aws.clients import Aws
from sealwax.settings import Settings
from support.account import Account
from support.call_recorder import DIRECT, note
from support.iam_requests import requests
from support.templates import Request

__all__ = ["Enforcer", "enforced"]


class Enforcer:
    """Checks each call of each client against all policies, for whoever is `role` now.

    `role` is a principal of the account (`api`, `worker`, `steward`, `operator`,
    `eraser`), or None: then nothing is checked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.account = Account(
            {settings.environment: list(settings.lanes)},
            {"data": {"BucketName": settings.bucket_name}},
        )
        self.role: str | None = None
        self.used: dict[str, set[str]] = defaultdict(set)
        self.refused: list[str] = []

    def attach(self, client: Any) -> None:
        events, service = client.meta.events, client.meta.service_model.service_name
        if service in DIRECT:
            # Their requests are made without the client's models: seen as they leave.
            events.register(f"before-send.{service}", self._check_sent)
        else:
            events.register("provide-client-params", self._check_called)
        if service == "s3":
            events.register("after-call.s3", self._hide_missing)

    def _check_called(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self._check(model.service_model.service_name, model.name, params)

    def _check_sent(self, request: Any, event_name: str, **_: Any) -> None:
        service, operation = event_name.split(".")[1:]
        self._check(service, operation, json.loads(request.body))

    def _check(self, service: str, operation: str, params: dict[str, Any]) -> None:
        if self.role is None:
            return
        for request in self._asked(service, operation, params):
            self.used[self.role].add(request.action)
            if not self._allowed(request):
                self.refused.append(f"{request.action} {request.resource}")
                code = "AccessDenied" if service == "s3" else "AccessDeniedException"
                refusal: Any = {
                    "Error": {"Code": code, "Message": request.action},
                    "ResponseMetadata": {"HTTPStatusCode": 403 if service == "s3" else 400},
                }
                raise ClientError(refusal, operation)
        note(service, operation, params, self.role)

    def _asked(self, service: str, operation: str, params: dict[str, Any]) -> Iterator[Request]:
        for request in requests(self.settings.environment, service, operation, params):
            yield request
            yield from self.account.behind(self.settings.environment, request)

    def _allowed(self, request: Request) -> bool:
        assert self.role is not None
        who = self.account.principals[self.settings.environment][self.role]
        return self.account.allows(who, request)

    def _hide_missing(self, http_response: Any, parsed: Any, **_: Any) -> None:
        """Answer 403 in place of 404, as S3 does to whoever may not list all of the bucket."""
        if self.role is None or http_response.status_code != 404:
            return
        if parsed.get("Error", {}).get("Code") not in ("NoSuchKey", "404"):
            return
        if not self._allowed(Request("s3:ListBucket", f"arn:aws:s3:::{self.settings.bucket_name}")):
            http_response.status_code = 403
            parsed["ResponseMetadata"]["HTTPStatusCode"] = 403
            parsed["Error"]["Code"] = "AccessDenied"


def enforced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Enforcer:
    """Return the check of all clients that the product makes from now on."""
    made = Enforcer(settings)
    original = Aws._make

    def make(self: Aws, kind: str, service: str, overrides: dict[str, Any]) -> Any:
        known = len(self._clients)
        client = original(self, kind, service, overrides)
        if len(self._clients) > known:
            made.attach(client.meta.client if kind == "resource" else client)
        return client

    monkeypatch.setattr(Aws, "_make", make)
    return made
