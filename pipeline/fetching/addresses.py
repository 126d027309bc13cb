"""Decides which addresses may be connected to: only those of the public internet.

The standard library's ``is_global`` is not enough: depending on the Python version it accepts
NAT64, 6to4 and IPv4-compatible forms of private addresses, multicast, and services of cloud
providers. This module accepts IPv6 only if it is plain global unicast, and IPv4 only if it
is in no special range (IANA's special-purpose registries, RFC 6890).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from pipeline.errors import ConfigurationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is this machine
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata is 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform services, although it looks public
        "169.254.0.0/16",  # link-local; the metadata of most clouds is 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata is 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; 255.255.255.255 is broadcast
    )
)

# The assigned global unicast space. It excludes loopback, link-local, unique local (metadata:
# fd00:ec2::254, fd20:ce::254), site-local, multicast, and IPv4 in mapped and compatible form.
_UNICAST_V6 = IPv6Network("2000::/3")

_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

# IPv6-only networks reach IPv4 through this prefix (RFC 6052). Such an address is as public
# as the IPv4 address that it contains.
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")

# The prefix of the IPv4 address in an ISATAP address (RFC 5214).
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        special = _inside(address, _SPECIAL_V4) or address.is_multicast
        return address.is_global and not special
    if address in _NAT64:
        return is_public(_low32(address))
    if address not in _UNICAST_V6 or _inside(address, _SPECIAL_V6):
        return False
    return address.is_global and all(map(is_public, embedded_ipv4(address)))


def embedded_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses embedded in an IPv6 address, by any scheme."""
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if _inside(address, (_NAT64, _NAT64_LOCAL, _COMPATIBLE)):
        yield _low32(address)
    number = int(address)
    if address in _NAT64_LOCAL:
        # RFC 6052, 2.2: after a prefix of 48 bits the address surrounds the bits 64 to 71.
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield _low32(address)


def _low32(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The permitted addresses: never ``deny``, else ``allow`` even if not public."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Whether ``address`` may be connected to. An allowed IPv4 address does not allow its
        IPv6 forms; a denied one denies them, too."""
        forms: list[Address] = [address]
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False  # valid on one link only
            forms += embedded_ipv4(address)
        if any(_inside(form, self.deny) for form in forms):
            return False
        return self.is_exempt(address) or is_public(address)

    def is_exempt(self, address: Address) -> bool:
        """Whether the operator allows the network of this address."""
        return _inside(address, self.allow)


def _inside(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def read_networks(text: str, variable: str) -> tuple[Network, ...]:
    """Reads a comma-separated list of networks. Raises ``ConfigurationError``, which names
    the ``variable``."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(ipaddress.ip_network(part) for part in parts)
    except ValueError as error:
        raise ConfigurationError(f"{variable}: {error}") from error
