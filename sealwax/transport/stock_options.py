"""Stock kombu's options for SQS: what each becomes here.

An option that says where or as whom messages are sent is obeyed as kombu obeys
it, or refused by name: to ignore it would send them elsewhere. One that has lost
its use is named in a note, which a worker logs at its start.
"""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sealwax.transport.addresses import BrokerAddress, check_queue_url, region_of
from sealwax.transport.errors import TransportOptionInvalid

__all__ = [
    "IGNORED",
    "REFUSED",
    "SILENT",
    "check_shapes",
    "endpoint_of",
    "keys_of",
    "nearest",
    "notes_on",
    "queue_fields",
    "refuse_stock",
    "region_with",
    "sqs_name",
]

#: kombu mixes its own policies into the same mapping: of no use, and no note.
SILENT = frozenset(
    {
        "callback", "confirm_publish", "connect_retries_timeout", "errback", "interval_max",
        "interval_start", "interval_step", "max_retries",
    }
)  # fmt: skip

#: Options that have lost their use, and what does it here.
IGNORED = {
    "backoff_policy": "self.retry(countdown=...) says when",
    "backoff_tasks": "self.retry(countdown=...) says when",
    "body_encoding": "bodies are plain JSON",
    "deadletter_queue": 'name it by "queues", or by the RedrivePolicy',
    "fetch_message_attributes": "all attributes are received",
    "polling_interval": "receives wait as long as SQS allows",
    "queue_tags": "queues are made by infrastructure code",
    "sqs-creation-attributes": "queues are made by infrastructure code",
    "sqs_base64_encoding": "bodies are plain JSON, and both forms are read",
    "sts_token_buffer_time": "boto3 renews",
    "sts_token_timeout": "boto3 renews",
}

#: Options that say where or as whom, and cannot be obeyed; with what to use instead.
REFUSED = {
    "sts_role_arn": (
        "boto3 assumes the role and renews it by itself: name a profile that has role_arn by "
        "AWS_PROFILE, or use the task's role"
    ),
    "supports_fanout": "SNS is not used; send one message for each queue",
    "predefined_exchanges": "SNS is not used; send one message for each queue",
    "regioninfo": 'use "region"',
    "port": "name it in the broker's URL, sealwax://HOST:PORT, or by endpoint_url",
}

#: Of botocore's Config, what has an option of ours; and what has no effect on where and as whom.
_CONFIG = frozenset({"connect_timeout", "read_timeout"})
_CONFIG_IGNORED = frozenset(
    {"max_pool_connections", "retries", "tcp_keepalive", "user_agent_extra"}
)

#: Seconds of a lease that is renewed, above which it only delays what a killed worker held.
LONG_LEASE = 120

_FIFO = ".fifo"

#: As botocore checks it.
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

_LEGAL = str.maketrans({sign: "_" for sign in string.punctuation if sign not in "-_"} | {".": "-"})


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest of the known names, or all of them."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else f"known are {', '.join(sorted(known))}."


def check_shapes(raw: Mapping[str, Any]) -> None:
    """Check that what says where or as whom is of the type it is read as.

    Raises
    ------
    TransportOptionInvalid
        Names the option; never shows a key.
    """
    for name in ("queues", "predefined_queues", "client-config"):
        if raw.get(name) is not None and not isinstance(raw[name], Mapping):
            raise TransportOptionInvalid(f"Transport option {name!r} must be a mapping.")
    if raw.get("queues") and raw.get("predefined_queues"):
        raise TransportOptionInvalid(
            "The transport options 'queues' and 'predefined_queues' are both given; keep one."
        )
    if raw.get("is_secure") not in (None, True, False):
        raise TransportOptionInvalid("Transport option 'is_secure' must be True or False.")
    _check_texts("Transport option", raw)
    for queue, value in queues_in(raw).items():
        if isinstance(value, Mapping):
            _check_texts(f"Of queue {queue!r} the option", value)


def _check_texts(kind: str, options: Mapping[str, Any]) -> None:
    for name in ("queue_name_prefix", *_SHARED):
        if options.get(name) is not None and not isinstance(options[name], str):
            raise TransportOptionInvalid(f"{kind} {name!r} must be text.")
    if options.get("region") and not _REGION.fullmatch(options["region"]):
        raise TransportOptionInvalid(
            f"{kind} 'region' is none of AWS's; it is written as 'eu-west-1'."
        )


def refuse_stock(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that botocore's configuration holds; refuse what cannot be obeyed.

    Raises
    ------
    TransportOptionInvalid
        Names the option, and what to use instead.
    """
    for name, instead in REFUSED.items():
        if raw.get(name):
            raise TransportOptionInvalid(f"Transport option {name!r} is not obeyed: {instead}.")
    config = raw.get("client-config") or {}
    for name in config:
        if name not in _CONFIG | _CONFIG_IGNORED:
            raise TransportOptionInvalid(
                f"Transport option 'client-config' has {name!r}, which is not obeyed; set it for "
                "boto3, by its environment variables or in the profile that AWS_PROFILE names."
            )
    return {name: config[name] for name in _CONFIG if name in config}


def queues_in(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of single queues, by whichever name they are given."""
    return raw.get("queues") or raw.get("predefined_queues") or {}


def notes_on(raw: Mapping[str, Any], address: BrokerAddress) -> tuple[str, ...]:
    """Return what a worker should say of what has no use, or more than is wished."""
    found = [
        f"Transport option {name!r} has no effect: {IGNORED[name]}."
        for name in raw
        if name in IGNORED
    ]
    for queue, value in queues_in(raw).items():
        if isinstance(value, Mapping):
            found += [
                f"Option {name!r} of queue {queue!r} has no effect: {IGNORED[name]}."
                for name in value
                if name in IGNORED
            ]
    if address.path:
        found.append("The broker's URL has a path, which has no effect: SQS has no virtual hosts.")
    given = raw.get("visibility_timeout")
    if "lease" not in raw and isinstance(given, int | float) and given > LONG_LEASE:
        found.append(
            f"Transport option 'visibility_timeout' is {given:g}: leases are renewed while a task "
            "runs, so this only delays what a killed worker held by as much; remove it, or set "
            "'lease' to 30."
        )
    return tuple(found)


def endpoint_of(address: BrokerAddress, raw: Mapping[str, Any]) -> str | None:
    """Return the endpoint of the broker's URL or of `endpoint_url`; None: boto3's own.

    Raises
    ------
    TransportOptionInvalid
        They contradict each other, or messages would go to AWS in clear.
    """
    given, secure = raw.get("endpoint_url"), raw.get("is_secure")
    if address.ssl and secure is False:
        raise TransportOptionInvalid(
            "The transport option 'is_secure' is off and the setting 'broker_use_ssl' on; keep one."
        )
    secure = True if address.ssl else secure
    if address.aws and secure is False:
        raise TransportOptionInvalid(
            "Transport option 'is_secure' is off: messages would go to AWS in clear; remove it."
        )
    # kombu's default for a host of one's own is http.
    scheme = "https" if secure or address.aws else "http"
    named = f"{scheme}://{address.host}" if address.host else None
    if given is None:
        if named is None and secure is False:
            raise TransportOptionInvalid(
                "Transport option 'is_secure' is off, and no host is named: messages would go to "
                "AWS in clear; name the host in the broker's URL, or remove it."
            )
        return named
    _check_endpoint(given)
    if address.host and given.rstrip("/").partition("://")[2].lower() != address.host.lower():
        raise TransportOptionInvalid(
            "The broker's URL and the transport option 'endpoint_url' name two servers; remove one."
        )
    if secure is not None and bool(secure) != given.startswith("https://"):
        raise TransportOptionInvalid(
            "The transport options 'is_secure' (or the setting 'broker_use_ssl') and "
            "'endpoint_url' contradict each other."
        )
    return str(given).rstrip("/")


def _check_endpoint(url: object) -> None:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.query or parts.fragment:
        raise TransportOptionInvalid(
            "Transport option 'endpoint_url' is no URL; it is http(s)://HOST:PORT."
        )
    if "@" in parts.netloc:
        raise TransportOptionInvalid(
            "Transport option 'endpoint_url' holds keys (it is not shown); give them by "
            "'access_key_id' and 'secret_access_key'."
        )


#: Of one queue, what kombu obeys: a client is shared here, so that all queues must agree.
_SHARED = ("region", "access_key_id", "secret_access_key")


def keys_of(address: BrokerAddress, raw: Mapping[str, Any]) -> dict[str, str | None]:
    """Return region and keys: the connection's, or those that all predefined queues share.

    Raises
    ------
    TransportOptionInvalid
        Queues differ in them, or there is one key of two.
    """
    own: dict[str, str | None] = {
        "region": raw.get("region"),
        "access_key_id": raw.get("access_key_id") or address.access_key_id,
        "secret_access_key": raw.get("secret_access_key") or address.secret_access_key,
    }
    mappings = {name: item for name, item in queues_in(raw).items() if isinstance(item, Mapping)}
    wished = {
        name: tuple(value.get(key) or own[key] for key in _SHARED)
        for name, value in mappings.items()
    }
    asks = any(value.get(key) for value in mappings.values() for key in _SHARED)
    if asks and len(set(wished.values())) > 1:
        name = next(name for name in wished if wished[name] != next(iter(wished.values())))
        raise TransportOptionInvalid(
            f"Queue {name!r} has another region or other keys than the queues before it; one "
            "connection has one of each: give these queues an app of their own, or let one role "
            "use them all."
        )
    if asks:
        own = dict(zip(_SHARED, next(iter(wished.values())), strict=True))
    if bool(own["access_key_id"]) != bool(own["secret_access_key"]):
        raise TransportOptionInvalid(
            "There is one of 'access_key_id' and 'secret_access_key'; give both, or none."
        )
    return own


def region_with(endpoint: str | None, region: str | None) -> str | None:
    """Return the region: the given one, else that of AWS's own endpoint.

    Raises
    ------
    TransportOptionInvalid
        They are two.
    """
    theirs = region_of(endpoint) if endpoint else None
    if theirs and region and theirs != region:
        raise TransportOptionInvalid(
            f"The endpoint is of region {theirs}, and the transport option 'region' is {region!r}; "
            "remove one."
        )
    return region or theirs


def sqs_name(name: str) -> str:
    """Return a Celery queue's name as SQS allows it, by kombu's rule.

    A '.' becomes '-', other punctuation '_'; `.fifo` at the end stays.
    """
    return name.removesuffix(_FIFO).translate(_LEGAL) + (_FIFO if name.endswith(_FIFO) else "")


def queue_fields(name: str, value: object, known: Iterable[str]) -> dict[str, Any]:
    """Return the fields of one queue that are ours.

    Raises
    ------
    TransportOptionInvalid
        It is no mapping, a field is unknown, or the url is none.
    """
    own = set(known)
    if not isinstance(value, Mapping):
        raise TransportOptionInvalid(f"The options of queue {name!r} must be a mapping.")
    for key in value:
        if key not in own and key not in _SHARED and key not in IGNORED:
            raise TransportOptionInvalid(
                f"Queue {name!r} has an unknown option {key!r}: {nearest(key, own | set(_SHARED))}"
            )
    found = {key: value[key] for key in value if key in own}
    if found.get("url") is not None:
        found["url"] = check_queue_url(name, found["url"])
    return found
