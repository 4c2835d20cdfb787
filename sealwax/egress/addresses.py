"""Which IP addresses an outgoing connection may go to: pure functions.

Called by `sealwax.egress.client` with every address that a name resolved to. The
check must see the address that is reached in the end, so IPv6 forms that carry
an IPv4 address are unwrapped first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

__all__ = ["Address", "Network", "is_allowed", "is_never_allowed", "is_public", "unmap"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Never, whatever a rule lists.
_NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this network", RFC 6890; 0.0.0.0 reaches the host itself
        "169.254.0.0/16",  # link-local; EC2 metadata .169.254, ECS credentials .170.2
        "224.0.0.0/4",  # multicast
        "255.255.255.255/32",  # broadcast
        "::/128",  # unspecified
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated by RFC 3879
        "ff00::/8",  # multicast
        # Instance services of AWS over IPv6: metadata ::254, DNS ::253, time ::123,
        # EKS credentials ::23.
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
        "fd00:ec2::/32",
    )
)

#: Not public, though the standard library of some Python versions says so.
#: https://www.iana.org/assignments/iana-ipv4-special-registry
#: https://www.iana.org/assignments/iana-ipv6-special-registry
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # shared address space, RFC 6598
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.88.99.0/24",  # 6to4 relay anycast, RFC 7526
        "240.0.0.0/4",  # reserved
        "64:ff9b:1::/48",  # NAT64 for local use, RFC 8215
        "100::/64",  # discard-only
        "2001::/23",  # protocol assignments, Teredo (2001::/32) included
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 §2.5.5.1, deprecated
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # SIIT, RFC 2765 §2.1


def unmap(address: Address) -> Address:
    """Return the IPv4 address behind an IPv4-mapped IPv6 address, else the address.

    The kernel connects to ``::ffff:a.b.c.d`` by IPv4, so both are one place.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a translator or tunnel would reach for `address`."""
    if not isinstance(address, IPv6Address):
        return
    number = int(address)
    low = IPv4Address(number & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or address in _TRANSLATED:
        yield low
    if address in _NAT64_LOCAL:
        # The prefix may be a /96 (low 32 bits) or the /48 itself, whose form of
        # RFC 6052 §2.2 leaves bits 64 to 71 out.
        # Whichever it is, the other reading is zero or noise.
        high = IPv4Address((number >> 64 & 0xFFFF) << 16 | (number >> 40 & 0xFFFF))
        yield from (candidate for candidate in (low, high) if int(candidate) > 0xFFFF)
    if address in _COMPATIBLE and number > 0xFFFF:
        yield low


def is_never_allowed(address: Address) -> bool:
    """Say whether no rule can allow the address: link-local, metadata, multicast, unspecified."""
    real = unmap(address)
    return any(
        candidate in network
        for candidate in (real, *_embedded(real))
        for network in _NEVER
        if network.version == candidate.version
    )


def is_public(address: Address) -> bool:
    """Say whether the address, and any IPv4 address inside it, is on the public Internet."""
    real = unmap(address)
    inner = tuple(_embedded(real))
    if any(real in network for network in _NOT_PUBLIC if network.version == real.version):
        return False
    if inner:
        # 6to4 and NAT64 are as public as what they lead to.
        return all(is_public(candidate) for candidate in inner) and not is_never_allowed(real)
    return real.is_global and not real.is_reserved and not is_never_allowed(real)


def is_allowed(address: Address, *, named: bool, cidrs: Iterable[Network]) -> bool:
    """Say whether a connection may go to `address`.

    Parameters
    ----------
    named
        Whether the rule lists the host by its name: enough for a public address.
    cidrs
        Networks that the rule lists: the only way to loopback and private ones.
    """
    real = unmap(address)
    if is_never_allowed(real):
        return False
    if any(real in network for network in cidrs if network.version == real.version):
        return True
    return named and is_public(real)
