"""Connects only to addresses that were checked.

A name is resolved once. Every address must pass the policy, and the connection goes to one
of the checked addresses: a name server that changes its answer gains nothing. TLS is still
verified against the name.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

from pipeline.fetching.addresses import Address, AddressPolicy
from pipeline.fetching.base import Deadline, FetchRefused, FetchTimedOut
from pipeline.fetching.resolver import Resolver
from pipeline.fetching.urls import FetchTarget
from pipeline.tls import client_tls

# Addresses of a host that are tried in turn.
MAX_ADDRESSES = 3


def system_tls_context() -> ssl.SSLContext:
    """TLS with the system's certificates that verifies the server's name."""
    context = client_tls()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens connections that ``policy`` permits."""

    policy: AddressPolicy
    resolver: Resolver = field(default_factory=Resolver)
    tls: ssl.SSLContext = field(default_factory=system_tls_context)

    def open(self, target: FetchTarget, deadline: Deadline) -> socket.socket:
        """A connection to ``target``, TLS included. Raises ``FetchRefused``, ``FetchTimedOut``."""
        addresses = self.resolver.addresses(target.host, deadline)
        for address in addresses:
            self._check(address)
        with mapped_errors("connecting"):
            connection = self._connect(_tried(addresses), target.port, deadline)
        if not target.secure:
            return connection
        with mapped_errors("the TLS handshake"):
            try:
                connection.settimeout(deadline.left("the TLS handshake"))
                return self.tls.wrap_socket(connection, server_hostname=target.host)
            except BaseException:
                connection.close()
                raise

    def _check(self, address: Address) -> None:
        if not self.policy.permits(address):
            raise FetchRefused(f"{address} is not a public address")
        if not self.policy.is_exempt(address) and _is_own(address):
            raise FetchRefused(f"{address} is this machine")

    def _connect(
        self, addresses: Sequence[Address], port: int, deadline: Deadline
    ) -> socket.socket:
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                # Leaves time for the next address if this one does not answer.
                return self._connect_to(address, port, deadline.left("connecting") / left)
            except OSError:
                if left == 1:
                    raise
        raise FetchRefused("a name without addresses")

    def _connect_to(self, address: Address, port: int, within_s: float) -> socket.socket:
        connection = socket.socket(_family(address), socket.SOCK_STREAM)
        try:
            connection.settimeout(within_s)
            connection.connect((str(address), port))
            _check_peer(connection, address)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def mapped_errors(doing: str) -> Iterator[None]:
    """Translate what sockets and TLS raise into ``FetchTimedOut`` and ``FetchRefused``."""
    try:
        yield
    except TimeoutError as error:
        raise FetchTimedOut(doing) from error
    except (OSError, ValueError) as error:
        raise FetchRefused(f"{doing} failed: {error}") from error


def _tried(addresses: Sequence[Address]) -> list[Address]:
    """The first addresses, alternating between families (RFC 8305, 4): one family may be
    unreachable from this machine."""
    first = [address for address in addresses if address.version == addresses[0].version]
    others = [address for address in addresses if address.version != addresses[0].version]
    pairs = zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None][:MAX_ADDRESSES]


def _check_peer(connection: socket.socket, address: Address) -> None:
    peer = ipaddress.ip_address(connection.getpeername()[0])
    if peer != address:
        raise FetchRefused(f"the connection leads to {peer}, not to {address}")


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _is_own(address: Address) -> bool:
    """Whether an address belongs to this machine: the kernel routes such an address from itself."""
    if address.is_unspecified:
        return True
    with closing(socket.socket(_family(address), socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((str(address), 9))  # a datagram socket: nothing is sent
        except OSError:
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address
