"""Which addresses a rule can reach, whatever form they come in."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from sealwax.egress.addresses import is_allowed, is_never_allowed, is_public, unmap

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "::",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2001:0:a9fe:a9fe::1",
    "2001:0:102:304:0:0:5601:5601",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "2002:0a00:0001::1",
    "2002:7f00:0001::",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::a00:1",
    "64:ff9b:1:a00:0:100::",
    "2001:db8::1",
    "2001:0:102:304::1",
    "3fff::1",
    "100::1",
    "5f00::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "140.82.112.3",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("text", NEVER)
def test_never_allowed_even_where_everything_is_listed(text):
    address = ip_address(text)
    assert is_never_allowed(address)
    assert not is_public(address)
    assert not is_allowed(address, named=True, cidrs=EVERYWHERE)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_only_through_a_listed_network(text):
    address = ip_address(text)
    assert not is_public(address)
    assert not is_allowed(address, named=True, cidrs=())
    assert is_allowed(address, named=False, cidrs=EVERYWHERE)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_by_name_or_network_only(text):
    address = ip_address(text)
    assert is_public(address)
    assert is_allowed(address, named=True, cidrs=())
    assert not is_allowed(address, named=False, cidrs=())
    assert is_allowed(address, named=False, cidrs=EVERYWHERE)


def test_mapped_addresses_are_compared_as_the_ipv4_that_is_reached():
    assert unmap(ip_address("::ffff:10.1.2.3")) == ip_address("10.1.2.3")
    assert is_allowed(ip_address("::ffff:10.1.2.3"), named=False, cidrs=(ip_network("10.0.0.0/8"),))
    assert not is_allowed(ip_address("::ffff:10.1.2.3"), named=False, cidrs=(ip_network("::/0"),))


def test_a_listed_ipv4_network_does_not_open_tunnels_to_it():
    cidrs = (ip_network("10.0.0.0/8"),)
    assert not is_allowed(ip_address("2002:0a00:0001::1"), named=True, cidrs=cidrs)
    assert not is_allowed(ip_address("64:ff9b::10.0.0.1"), named=True, cidrs=cidrs)
