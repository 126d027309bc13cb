"""Which addresses are public, in every way of writing IPv4 into IPv6."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from pipeline.errors import ConfigurationError
from pipeline.fetching.addresses import (
    Address,
    AddressPolicy,
    embedded_ipv4,
    is_public,
    read_networks,
)

PRIVATE_V4 = [
    "0.0.0.0", "0.1.2.3", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.169.254", "172.16.0.0",
    "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.255.255",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
]
PUBLIC_V4 = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "223.255.255.255",
]
PRIVATE_V6 = [
    "::", "::1", "::2", "100::1", "64:ff9b:1::1", "2001::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002::1", "3fff::1", "5f00::1", "4000::1", "fc00::1", "fd00:ec2::254",
    "fd20:ce::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "fe80::1%eth0",
    "2606:4700::1111%eth0",
]
PUBLIC_V6 = ["2001:4860:4860::8888", "2606:4700::1111", "2400:3200::1", "2a00:1450::1"]

# Every scheme that puts an IPv4 address into IPv6, and those that are judged by it.
FORMS: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "compatible": lambda v4: v4,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    "NAT64": lambda v4: 0x64FF9B << 96 | v4,
    "local NAT64": lambda v4: 0x64FF9B0001 << 80 | v4,
    "local NAT64, /48": lambda v4: 0x64FF9B0001 << 80 | v4 >> 16 << 64 | (v4 & 0xFFFF) << 40,
    "Teredo's client": lambda v4: 0x2001 << 112 | 0x08080808 << 64 | (v4 ^ 0xFFFFFFFF),
    "Teredo's server": lambda v4: 0x2001 << 112 | v4 << 64 | 0xF7F7F7F7,
    "ISATAP": lambda v4: 0x2606 << 112 | 0x5EFE << 32 | v4,
    "ISATAP, universal": lambda v4: 0x2606 << 112 | 0x02005EFE << 32 | v4,
}
OF_PUBLIC_HOSTS = {"NAT64", "ISATAP", "ISATAP, universal"}


def inside(form: str, v4: str) -> IPv6Address:
    return IPv6Address(FORMS[form](int(IPv4Address(v4))))


@pytest.mark.parametrize("text", PRIVATE_V4 + PRIVATE_V6)
def test_not_public(text: str) -> None:
    assert not AddressPolicy().permits(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC_V4 + PUBLIC_V6)
def test_public(text: str) -> None:
    assert AddressPolicy().permits(ipaddress.ip_address(text))


@pytest.mark.parametrize("form", FORMS)
def test_a_private_address_is_private_in_every_form(form: str) -> None:
    for v4 in PRIVATE_V4:
        assert not is_public(inside(form, v4)), (form, v4)


@pytest.mark.parametrize("form", FORMS)
def test_a_public_address_is_public_where_it_is_reached_so(form: str) -> None:
    for v4 in PUBLIC_V4:
        assert is_public(inside(form, v4)) == (form in OF_PUBLIC_HOSTS), (form, v4)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_operator_forbids_is_forbidden_in_every_form(form: str) -> None:
    policy = AddressPolicy(
        allow=read_networks("::/0,0.0.0.0/0", ""), deny=read_networks("8.8.8.0/24", "")
    )
    assert IPv4Address("8.8.8.8") in embedded_ipv4(inside(form, "8.8.8.8"))
    assert not policy.permits(inside(form, "8.8.8.8"))
    # Teredo's other address is 8.8.8.8 in this test
    assert policy.permits(inside(form, "9.9.9.9")) == (not form.startswith("Teredo"))


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_is_for_the_address_as_it_stands(form: str) -> None:
    policy = AddressPolicy(allow=read_networks("10.0.0.0/8,fd00:1::/64", ""))
    assert policy.permits(IPv4Address("10.1.2.3"))
    assert policy.permits(IPv6Address("fd00:1::5"))
    assert not policy.permits(inside(form, "10.1.2.3"))
    assert not policy.permits(IPv4Address("127.0.0.1"))


def at_random(seed: int, count: int) -> Iterator[Address]:
    chosen = random.Random(seed)
    for _ in range(count):
        yield IPv4Address(chosen.getrandbits(32))
        yield IPv6Address(chosen.getrandbits(128))
        # near the ranges that matter
        yield IPv6Address(chosen.choice([0, 0x2001, 0x2002, 0x64, 0xFD00, 0xFE80, 0x3FFF]) << 112
                          | chosen.getrandbits(112))


def test_never_wider_than_the_standard_library() -> None:
    """The standard library is no substitute, but its private addresses are refused."""
    narrower = 0
    for address in at_random(4, 3000):
        if is_public(address):
            assert address in IPv4Network("0.0.0.0/0") or int(address) >> 125 == 1 or (
                int(address) >> 32 == 0x64FF9B << 64
            )
            assert not address.is_private
            assert not address.is_multicast
            assert not address.is_loopback
        narrower += address.is_global and not is_public(address)
    assert narrower > 0


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "here", "1.2.3.4/33"])
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_FETCH_DENY_NETWORKS"):
        read_networks(f"10.0.0.0/8, {text}", "FACELINE_FETCH_DENY_NETWORKS")
    assert read_networks(" 10.0.0.0/8 ,,fd00::/8", "") == (
        ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"),
    )
