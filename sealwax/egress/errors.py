"""What can go wrong with an outgoing request: one class a cause.

Raised by `sealwax.egress` only. A message may name the host; it never holds a
path, a query, a header or a body, because messages end in logs.
"""

from __future__ import annotations

from typing import Literal

from sealwax.errors import SealwaxError

__all__ = [
    "DownstreamBusy",
    "DownstreamGarbage",
    "DownstreamStatus",
    "DownstreamTimeout",
    "DownstreamUnreachable",
    "OutgoingError",
    "OutgoingRefused",
    "RefusedReason",
]

RefusedReason = Literal[
    "url-invalid",
    "header-invalid",
    "scheme-refused",
    "port-refused",
    "host-refused",
    "address-refused",
    "redirect-refused",
]

_REMEDY: dict[RefusedReason, str] = {
    "url-invalid": "write it as https://host/path with a plain host name and no credentials",
    "header-invalid": "header names and values must be printable, without line breaks",
    "scheme-refused": "only https is allowed; list http in the rule's schemes if it must be",
    "port-refused": "list the port in the rule's ports",
    "host-refused": "list the host in the rule's hosts, or its network in cidrs",
    "address-refused": "the name resolves to an address that the rule does not allow; private "
    "networks must be listed in cidrs, link-local and metadata addresses never are",
    "redirect-refused": "redirects are not followed; configure the final URL",
}


class OutgoingError(SealwaxError):
    """An outgoing request failed; see its class."""

    #: Machine-readable, kebab-case; what a job's record shows.
    cause: str = "downstream-failed"

    #: Whether a later attempt of the same request can succeed.
    transient: bool = True


class OutgoingRefused(OutgoingError):
    """The request breaks its rule and was not sent, or its answer would lead elsewhere."""

    transient = False

    def __init__(self, reason: RefusedReason, host: str | None = None) -> None:
        self.cause = self.reason = reason
        where = f" to {host}" if host else ""
        super().__init__(f"Outgoing request{where} refused ({reason}): {_REMEDY[reason]}.")


class DownstreamTimeout(OutgoingError):
    """The other system did not answer in time; raise the rule's time-outs if it is slow."""

    cause = "downstream-timeout"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} did not answer in time; raise the rule's time-outs if it is known to be slow."
        )


class DownstreamUnreachable(OutgoingError):
    """No answer came: the name was not found, or the connection failed or broke."""

    def __init__(
        self,
        host: str,
        cause: Literal["unresolved", "unreachable", "reset", "tls"] = "unreachable",
    ) -> None:
        self.cause = f"downstream-{cause}"
        super().__init__(
            f"{host} gave no answer ({self.cause}); check name, network and certificate."
        )


class DownstreamBusy(OutgoingError):
    """The request was not sent: its system's share of this process is used up, or it is silent.

    Parameters
    ----------
    cause
        `share`: as many requests as may wait for it do; `silent`: the last ones got no answer.
    retry_after
        Seconds after which to ask again.
    """

    def __init__(self, host: str, cause: Literal["share", "silent"], *, retry_after: float) -> None:
        self.cause = f"downstream-{cause}"
        self.retry_after = retry_after
        super().__init__(
            f"{host} was not asked ({self.cause}); it answers too slowly: ask its operator, or "
            "raise limits.system_requests."
        )


class DownstreamGarbage(OutgoingError):
    """The answer is not HTTP, too large, cut off or not decodable."""

    def __init__(
        self, host: str, cause: Literal["garbage", "too-large", "undecodable"] = "garbage"
    ) -> None:
        self.cause = f"downstream-{cause}"
        super().__init__(
            f"{host} gave an answer that cannot be used ({self.cause}); ask its operator."
        )


class DownstreamStatus(OutgoingError):
    """The other system answered with an error status.

    Parameters
    ----------
    status
        The HTTP status.
    transient
        Whether `classify` says that trying later can help.
    retry_after
        Seconds that the other system asked to wait, clamped; None: it did not ask.
    """

    def __init__(
        self, host: str, status: int, *, transient: bool, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.transient = transient
        self.retry_after = retry_after
        self.cause = f"downstream-{status}"
        super().__init__(f"{host} answered {status}.")
