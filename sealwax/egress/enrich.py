"""Fetch what a payload lacks from an internal system, before it is sealed.

Called by the API inside a request, so time is bounded as a whole, the answer is
bounded and validated, and every failure is one of two errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from sealwax.egress.client import OutgoingClient
from sealwax.egress.errors import (
    DownstreamBusy,
    DownstreamStatus,
    OutgoingError,
    OutgoingRefused,
)
from sealwax.egress.rules import HttpRule, parse_target
from sealwax.errors import SealwaxError

__all__ = ["Enricher", "NotFoundUpstream", "UpstreamDown"]

Answer = TypeVar("Answer", bound=BaseModel)

_PLACE = "{id}"


class NotFoundUpstream(SealwaxError):
    """The internal system knows no such thing; check the id."""

    def __init__(self, system: str) -> None:
        self.system = system
        super().__init__(f"{system} knows no such thing; check the id.")


class UpstreamDown(SealwaxError):
    """The internal system gave no usable answer; try again later.

    Parameters
    ----------
    system
        Its configured name.
    cause
        Machine-readable, such as `downstream-timeout`.
    retry_after
        Seconds that it asked to wait, if it did.
    """

    def __init__(self, system: str, cause: str, retry_after: float | None = None) -> None:
        self.system = system
        self.cause = cause
        self.retry_after = retry_after
        super().__init__(f"{system} gave no usable answer ({cause}); try again later.")


class Enricher(Generic[Answer]):
    """Gets one thing by its id.

    Parameters
    ----------
    system
        Name of the internal system, shown to callers.
    url
        With `{id}` in its path.
    model
        What the answer must fit; fields that it does not name are dropped where
        the model ignores them.
    rule
        `total` covers both tries.
    headers
        Credentials, for instance.
    """

    def __init__(
        self,
        *,
        system: str,
        url: str,
        model: type[Answer],
        rule: HttpRule,
        client: OutgoingClient,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if _PLACE not in url.split("?", maxsplit=1)[0]:
            raise OutgoingRefused("url-invalid")
        rule.check_target(parse_target(url.replace(_PLACE, "0")))
        self._system = system
        self._url = url
        self._model = model
        self._rule = rule
        self._client = client
        self._headers = {"Accept": "application/json", **(headers or {})}

    def fetch(self, identity: str) -> Answer:
        """Return what the internal system says of `identity`.

        Raises
        ------
        NotFoundUpstream
            Where it answers 404.
        UpstreamDown
            Where it answers anything else that cannot be used, or nothing.
        """
        if not identity or identity in {".", ".."}:
            raise NotFoundUpstream(self._system)
        url = self._url.replace(_PLACE, quote(identity, safe=""))
        until = time.monotonic() + self._rule.total
        failure, answer = self._try(url, self._rule)
        left = until - time.monotonic()
        if failure is not None and _worth_another(failure) and left > 0:
            # At most one more: many callers wait, and a system that is down is
            # not helped by being asked more often.
            limits = {"total": left, "connect": min(self._rule.connect, left)}
            failure, answer = self._try(url, self._rule.model_copy(update=limits))
        if answer is not None:
            return answer
        if isinstance(failure, DownstreamStatus) and failure.status == 404:
            raise NotFoundUpstream(self._system)
        wait = getattr(failure, "retry_after", None)
        cause = failure.cause if failure is not None else "downstream-invalid"
        raise UpstreamDown(self._system, cause, wait)

    def _try(self, url: str, rule: HttpRule) -> tuple[OutgoingError | None, Answer | None]:
        """Return an error, an answer, or neither where the answer does not fit the model."""
        try:
            response = self._client.request("GET", url, rule=rule, headers=self._headers)
            return None, self._model.model_validate_json(response.body)
        except OutgoingError as error:
            return error, None
        except ValidationError:
            # Its text quotes the answer.
            return None, None


def _worth_another(error: OutgoingError) -> bool:
    if isinstance(error, DownstreamStatus | DownstreamBusy) and error.retry_after:
        return False
    return error.transient
