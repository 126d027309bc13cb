"""A fetcher that may reach a test's server."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence

from pipeline.fetching.addresses import Address, AddressPolicy, read_networks
from pipeline.fetching.client import FetchLimits, WebFetcher
from pipeline.fetching.connections import Connector, system_tls_context
from pipeline.fetching.resolver import Resolver
from tests.picture_server import PictureServer

PICTURE = bytes(range(256)) * 100
MOST = len(PICTURE)
DEADLINE_S = 0.6

Names = dict[str, Sequence[str]]


def fetcher_of(
    server: PictureServer, names: Names | None = None, *, deadline_s: float = 30.0,
    tls: ssl.SSLContext | None = None, others: Sequence[int] = (), network: str | None = None,
) -> WebFetcher:
    """A fetcher that may reach ``server`` and ``network``, and knows these names."""
    def look_up(host: str) -> list[Address]:
        if host not in (names or {}):
            raise OSError(f"no such name: {host}")
        return [ipaddress.ip_address(address) for address in (names or {})[host]]

    policy = AddressPolicy(allow=read_networks(f"{server.host},{network or ''}", "networks"))
    return WebFetcher(
        Connector(policy, Resolver(look_up), tls or system_tls_context()),
        FetchLimits(MOST, deadline_s, frozenset({server.port, *others})),
    )
