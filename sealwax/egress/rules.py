"""The rule that an outgoing request is held to, and the strict reading of its URL.

Pure: no look-up, no socket. `HttpRule` stands in the settings; `parse_target`
refuses every URL form on which two parsers could disagree.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import idna
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sealwax.egress.addresses import Address
from sealwax.egress.errors import OutgoingRefused

__all__ = ["HttpRule", "Target", "host_matches", "normalise_host", "parse_target"]

#: Longest URL in characters; longer ones are a mistake.
MAX_URL = 4_096

#: A label of a host name; the underscore is for service names of container networks.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

#: The last label makes an address of it (https://url.spec.whatwg.org/#ends-in-a-number-checker):
#: C libraries read 127.1, 0x7f.1, 017700000001 and 2130706433 all as 127.0.0.1.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")

#: Characters that parsers drop, repair or understand differently.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")

#: A port is a number without leading zeros; a colon without a port is refused.
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>[1-9][0-9]{0,4}))?")

_DEFAULT_PORTS: dict[str, int] = {"https": 443, "http": 80}


def normalise_host(host: str) -> str:
    """Return a host name in its one ASCII form, or a literal address without brackets.

    Raises
    ------
    ValueError
        Where it is no plain host name: empty, with a trailing dot, with a zone,
        or a number that some library would read as an address.
    """
    text = host.strip("[]") if host.startswith("[") and host.endswith("]") else host
    if ":" in text or text != host:
        if "%" in text:
            raise ValueError("zones are not allowed")
        return str(ipaddress.IPv6Address(text))
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise ValueError("not a host name") from None
    text = text.lower()
    labels = text.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        # Four decimal numbers without leading zeros; nothing else is an address.
        return str(ipaddress.IPv4Address(text))
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name")
    return text


def host_matches(host: str, pattern: str) -> bool:
    """Say whether a normalised host is `pattern`, or under it where it is ``*.example.com``.

    The wildcard stands for one label or more, never for none.
    """
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


class HttpRule(BaseModel):
    """Where outgoing requests may go, how long they may take, how much may come back.

    A host is allowed where it is listed by name and all its addresses are
    public, or where all its addresses are in a listed network. Link-local,
    metadata, multicast and unspecified addresses are never allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[str, ...] = Field(
        (), description="Exact names, or `*.example.com` for everything below it."
    )
    cidrs: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that may be reached, loopback and private ones included."
    )
    schemes: tuple[Literal["https", "http"], ...] = Field(
        ("https",), description="`http` sends everything readable; for closed networks only."
    )
    ports: tuple[int, ...] = Field(
        (), description="Allowed ports; default: the scheme's own (443, 80)."
    )
    connect: float = Field(3, gt=0, le=60, description="Seconds for name, connection and TLS.")
    read: float = Field(10, gt=0, le=600, description="Longest silence while reading, in seconds.")
    total: float = Field(20, gt=0, le=3_600, description="Seconds for everything together.")
    max_response_bytes: int = Field(
        1_048_576, ge=0, le=67_108_864, description="Largest response body, decompressed."
    )
    proxy: str | None = Field(
        None,
        description="`http://host:port`. The proxy then resolves names and must refuse private "
        "ones itself: only hosts listed by name go through it.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust instead of the public ones."
    )

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            f"*.{normalise_host(host[2:])}" if host.startswith("*.") else normalise_host(host)
            for host in hosts
        )

    @field_validator("ports")
    @classmethod
    def _ports(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= port <= 65_535 for port in ports):
            raise ValueError("ports are from 1 to 65535")
        return ports

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, proxy: str | None) -> str | None:
        if proxy is None:
            return None
        try:
            target = parse_target(proxy)
        except OutgoingRefused:
            raise ValueError("write the proxy as http://host:port, without credentials") from None
        if target.scheme != "http":
            raise ValueError("write the proxy as http://host:port; it tunnels https unopened")
        return f"http://{target.authority}"

    @model_validator(mode="after")
    def _times(self) -> Self:
        if self.total < self.connect:
            raise ValueError("total must be at least connect")
        return self

    def lists(self, host: str) -> bool:
        """Say whether a normalised host is listed by name."""
        return any(host_matches(host, pattern) for pattern in self.hosts)

    def check_target(self, target: Target) -> None:
        """Check what can be checked before the name is resolved.

        Raises
        ------
        OutgoingRefused
            Where scheme, port or host are not allowed.
        """
        if target.scheme not in self.schemes:
            raise OutgoingRefused("scheme-refused", target.host)
        if target.port not in (self.ports or (_DEFAULT_PORTS[target.scheme],)):
            raise OutgoingRefused("port-refused", target.host)
        if not self.lists(target.host) and (self.proxy is not None or not self.cidrs):
            raise OutgoingRefused("host-refused", target.host)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL, read strictly.

    Parameters
    ----------
    host
        ASCII, lower case; a literal address without brackets.
    path
        Path and query as they go on the request line.
    """

    scheme: Literal["https", "http"]
    host: str
    port: int
    path: str

    @property
    def literal(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as in a URL and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL in its one form."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_target(url: str) -> Target:
    """Read a URL strictly.

    Raises
    ------
    OutgoingRefused
        `url-invalid` for user information, a fragment, control characters,
        backslashes, an empty or odd host or port; `scheme-refused` for schemes
        other than http and https.
    """
    if len(url) > MAX_URL or _UNSAFE.search(url):
        raise OutgoingRefused("url-invalid")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise OutgoingRefused("url-invalid")
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise OutgoingRefused("scheme-refused")
    # A fragment is never sent; user information would be, and misleads readers.
    if "@" in re.split("[/?#]", url[len(scheme) + 3 :], maxsplit=1)[0] or "#" in url:
        raise OutgoingRefused("url-invalid")
    try:
        parts = urlsplit(url)
        matched = _AUTHORITY.fullmatch(parts.netloc)
        host = normalise_host(matched["host"]) if matched else ""
    except ValueError:
        raise OutgoingRefused("url-invalid") from None
    port = int((matched and matched["port"]) or _DEFAULT_PORTS[scheme])
    if not host or port > 65_535:
        raise OutgoingRefused("url-invalid")
    path = parts.path or "/"
    if parts.query:
        path = f"{path}?{parts.query}"
    return Target(scheme="https" if scheme == "https" else "http", host=host, port=port, path=path)
