"""Where SQS is, and as whom it is asked: the broker's URL and the URLs of queues.

Pure. A broker's URL may hold a secret key: no error of this module quotes any
part of a URL that could be one, and whatever prints a URL prints `masked`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from sealwax.transport.errors import TransportOptionInvalid

__all__ = ["BrokerAddress", "check_queue_url", "is_aws", "masked", "parse_broker_url", "region_of"]

#: Hosts of SQS: https://docs.aws.amazon.com/general/latest/gr/sqs-service.html. The older forms
#: stand in URLs of queues that were made long ago.
_AWS = re.compile(
    r"(?:(?:sqs|sqs-fips|vpce-[^.]+\.sqs)\.(?P<new>[a-z0-9-]+)(?:\.vpce)?"
    r"|(?P<old>[a-z0-9-]+)\.queue|(?P<oldest>queue))"
    r"\.(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)"
)

#: Host names and addresses, without brackets.
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")

_UNREADABLE = (
    "The broker's URL cannot be read (it is not shown, since it may hold a secret): it is "
    "sealwax://KEY:SECRET@HOST:PORT or less; write '/', '+', ';', '#' and '@' in a key as %2F, "
    "%2B, %3B, %23 and %40."
)

#: Region of `queue.amazonaws.com`.
_OLDEST = "us-east-1"


@dataclass(frozen=True)
class BrokerAddress:
    """What a broker's URL says; None: nothing.

    Parameters
    ----------
    host
        Host and port of the server.
    aws
        Whether that is AWS itself.
    access_key_id, secret_access_key
        Both or none.
    path
        Whether the URL has a path, which is not read.
    ssl
        Whether the connection asks for TLS (`broker_use_ssl`).
    """

    host: str | None = None
    aws: bool = False
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    path: bool = False
    ssl: bool = False


def parse_broker_url(url: str | None, port: int | None = None) -> BrokerAddress:
    """Return what a broker's URL says of the server and the keys.

    Parameters
    ----------
    url
        A URL, or as `broker_host` has it a bare host, with a port or without.
    port
        Port of a bare host that has none.

    Raises
    ------
    TransportOptionInvalid
        It cannot be read, names one key of two or a queue, or holds options.
    """
    if not url:
        return BrokerAddress()
    bare = "://" not in url
    try:
        parts = urlsplit(f"//{url}" if bare else url)
        port = parts.port or (port if bare else None)
    except ValueError:
        raise TransportOptionInvalid(_UNREADABLE) from None
    if parts.query or parts.fragment:
        raise TransportOptionInvalid(
            "The broker's URL has a part after '?' or '#', which is not read; give options in "
            "broker_transport_options, and write these characters in a key as %3F and %23."
        )
    if "@" in parts.path:
        raise TransportOptionInvalid(
            "The broker's URL has an '@' after a '/'; write '/' in a key as %2F."
        )
    host = parts.hostname or ""
    # An empty port is what is left of another URL within this one.
    if (
        parts.netloc.endswith(":")
        or (host and not _HOST.fullmatch(host))
        or (bare and (parts.path or "@" in url))
    ):
        raise TransportOptionInvalid(_UNREADABLE)
    path = bool(parts.path.strip("/"))
    if path and is_aws(host):
        raise TransportOptionInvalid(
            "The broker's URL is one of a queue; name the queue's url in "
            'broker_transport_options["queues"], and the broker sealwax://.'
        )
    key, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(key) != bool(secret):
        raise TransportOptionInvalid(
            "The broker's URL holds one of access key id and secret access key; give both as "
            "sealwax://KEY:SECRET@, or none, and boto3 finds the credentials."
        )
    shown = f"[{host}]" if ":" in host else host
    return BrokerAddress(
        host=(shown if port is None else f"{shown}:{port}") or None,
        aws=is_aws(host),
        access_key_id=key or None,
        secret_access_key=secret or None,
        path=path,
    )


def masked(url: str, mask: str = "**") -> str:
    """Return a broker's URL, or several joined by `;`, without what may be a secret."""
    return ";".join(_masked(one, mask) for one in url.split(";"))


def _masked(url: str, mask: str) -> str:
    scheme, there, rest = url.partition("://")
    if not there:
        return mask if "@" in url else url
    # The last: a key whose characters were not escaped may hold one too.
    user, at, place = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        return f"{scheme}://{name}{colon}{mask if colon else ''}@{place}"
    # What stands where a port should may be a secret that was cut by a '/' or ';'.
    host, colon, port = place.partition("/")[0].rpartition(":")
    if colon and not (port.isdigit() or place.startswith("[")):
        return f"{scheme}://{host}:{mask}"
    return url


def is_aws(host: str) -> bool:
    """Whether a host is AWS's."""
    return host.lower().endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def region_of(url: str) -> str | None:
    """Return the region that a URL of AWS's names; None where it is another's."""
    found = _AWS.fullmatch((urlsplit(url).hostname or "").lower())
    if found is None:
        return None
    return found["new"] or found["old"] or _OLDEST


def check_queue_url(queue: str, url: object) -> str:
    """Return the URL of a queue.

    Raises
    ------
    TransportOptionInvalid
        It is none.
    """
    if isinstance(url, str) and url == url.strip():
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        whole = parts.scheme in {"http", "https"} and parts.hostname
        clean = not (parts.query or parts.fragment or parts.username)
        if whole and clean and re.fullmatch(r"(?:/[^/]+)*/[\w-]{1,80}(?:\.fifo)?", parts.path):
            return url
    raise TransportOptionInvalid(
        f"The url of queue {queue!r} is no queue's; it is "
        "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, as `aws sqs get-queue-url` prints it."
    )
