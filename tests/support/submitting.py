"""Submitting marks over HTTP, as tests of the roles do."""

from __future__ import annotations

import time

from flask import Flask

__all__ = ["submit"]


def submit(app: Flask, auth: dict[str, str], n: int, **more: object) -> tuple[int, float]:
    """Submit one; return the status and the seconds it took."""
    began = time.monotonic()
    body = {"task": "test.mark", "payload": {"n": n}, **more}
    answer = app.test_client().post("/v1/jobs", json=body, headers=auth)
    return answer.status_code, time.monotonic() - began
