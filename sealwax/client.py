"""A small client of the HTTP API: what the command line submits and follows jobs with.

It repeats what may be repeated (429, 503, connection errors), always with the
same Idempotency-Key, so that no repeat makes a second job.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from sealwax.aws.backoff import backoff
from sealwax.errors import SealwaxError

__all__ = ["ApiClient", "ApiRefused", "ApiUnreachable", "client_from_environment"]

#: States in which a job has ended.
ENDED = frozenset({"succeeded", "dead", "cancelled", "expired", "abandoned"})

#: Longest wait between two tries, in seconds.
_LONGEST_WAIT = 30.0


class ApiUnreachable(SealwaxError):
    """The API does not answer; check SEALWAX_API_URL, or start one with `sealwax dev`."""


class ApiRefused(SealwaxError):
    """The API refused the request.

    Parameters
    ----------
    status
        HTTP status.
    problem
        The problem document.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        fields = "; ".join(
            f"{error.get('pointer') or '(body)'} {error.get('detail')}"
            for error in problem.get("errors", [])
        )
        super().__init__(
            f"{status} {problem.get('title', 'refused')}: {problem.get('detail', '')}"
            + (f" {fields}" if fields else "")
        )


class ApiClient:
    """Talks to one API with one token.

    Parameters
    ----------
    attempts
        Tries of one request.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        attempts: int = 6,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._attempts = attempts
        self._timeout = timeout
        self._sleep = sleep
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=64)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._session.headers["Authorization"] = f"Bearer {token}"

    def submit(self, task: str, payload: Any, *, idempotency_key: str) -> dict[str, Any]:
        """Submit a job; return the 202 document.

        Raises
        ------
        ApiRefused, ApiUnreachable
        """
        return self._request(
            "POST",
            "/v1/jobs",
            json={"task": task, "payload": payload},
            headers={"Idempotency-Key": idempotency_key},
        )

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job's document."""
        return self._request("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; return its document.

        Raises
        ------
        ApiRefused, ApiUnreachable
        """
        return self._request("DELETE", f"/v1/jobs/{job_id}")

    def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that the token may submit."""
        found: list[dict[str, Any]] = self._request("GET", "/v1/tasks")["tasks"]
        return found

    def ops(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Ask the operations API; `path` is what follows `/v1/ops/`.

        Raises
        ------
        ApiRefused, ApiUnreachable
        """
        return self._request(method, f"/v1/ops/{path}", **arguments)

    def wait(self, job_id: str, *, timeout: float, interval: float = 0.2) -> dict[str, Any]:
        """Follow a job to its end, or for `timeout` seconds; return its last document."""
        end = time.monotonic() + timeout
        while True:
            document = self.job(job_id)
            if document["state"] in ENDED or time.monotonic() >= end:
                return document
            self._sleep(interval)
            interval = min(interval * 1.3, 2.0)

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Send one request of the operations API; return its document.

        Raises
        ------
        ApiRefused, ApiUnreachable
        """
        return self._request(method, path, **arguments)

    def download(self, path: str) -> bytes:
        """Return a document as it is, byte for byte.

        Raises
        ------
        ApiRefused, ApiUnreachable
        """
        return self._answer("GET", path).content

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def _request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        document: dict[str, Any] = self._answer(method, path, **arguments).json()
        return document

    def _answer(self, method: str, path: str, **arguments: Any) -> requests.Response:
        for attempt in range(1, self._attempts + 1):
            wait = backoff(attempt - 1, base=0.5, cap=_LONGEST_WAIT)
            try:
                answer = self._session.request(
                    method, self.url + path, timeout=self._timeout, **arguments
                )
            except requests.RequestException as error:
                if attempt == self._attempts:
                    raise ApiUnreachable(
                        f"{self.url} does not answer ({type(error).__name__}); check "
                        "SEALWAX_API_URL, or start one with `sealwax dev`."
                    ) from None
            else:
                if answer.ok:
                    return answer
                after = answer.headers.get("Retry-After", "")
                again = answer.status_code in (429, 503) or (answer.status_code == 409 and after)
                if not again or attempt == self._attempts:
                    raise ApiRefused(answer.status_code, _problem(answer))
                wait = min(float(after), _LONGEST_WAIT) if after.isdigit() else wait
            self._sleep(wait)
        raise AssertionError("unreachable")


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {"title": answer.reason}
    return document if isinstance(document, dict) else {"title": answer.reason}


_EXPORT = re.compile(r"export (SEALWAX_[A-Z_]+)='([^']*)'")


def client_from_environment() -> ApiClient:
    """Return a client by SEALWAX_API_URL and SEALWAX_TOKEN, else by what `sealwax dev` left.

    `sealwax dev` writes them to `.sealwax/env` in the folder it runs in.

    Raises
    ------
    ApiUnreachable
        Where neither is there.
    """
    found = dict(os.environ)
    path = Path(".sealwax/env")
    if path.is_file():
        for name, value in _EXPORT.findall(path.read_text()):
            found.setdefault(name, value)
    url, token = found.get("SEALWAX_API_URL"), found.get("SEALWAX_TOKEN")
    if not url or not token:
        raise ApiUnreachable(
            "Set SEALWAX_API_URL and SEALWAX_TOKEN, or run `sealwax dev` in this folder first."
        )
    return ApiClient(url, token)
