"""Where clients see the service: the path that a proxy mounts it under, and their addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.config.settings import Settings
from pipeline.fetching.addresses import Address, Network, read_networks

MOUNT = "faceline.mount"
"""The key in a scope of the mount path as clients see it, without a slash at its end; empty at
the root."""

# What a proxy may name: a second slash at the start would make `Location` another host's.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%!$&'()*+;=:@-]+)*")
_SLASHES = re.compile(rb"/{2,}")


class Mounted:
    """Serves requests whose paths begin with the mount path, or have slashes too many, as those
    without. The mount path is ``Settings.root_path``, or what a trusted proxy says in
    ``X-Forwarded-Prefix``; a trusted proxy's ``X-Forwarded-For`` names the client.

    ``is_served`` says whether a path is the service's own as it is, as it comes from a proxy
    that removes the mount path itself. Raises ``ConfigurationError``.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, is_served: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._root_path = settings.root_path.rstrip("/")
        self._trusted = read_networks(settings.trusted_proxies, "FACELINE_TRUSTED_PROXIES")
        self._is_served = is_served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            mount, path = self._root_path, _single_slashes(scope)
            client = scope.get("client")
            if client and _is_within(client[0], self._trusted):
                headers = dict(scope["headers"])
                mount = _forwarded_prefix(headers.get(b"x-forwarded-prefix", b"")) or mount
                client = (_forwarded_client(headers, client[0], self._trusted), client[1])
            path = self._inner_path(path, mount)
            scope = {**scope, MOUNT: mount, "client": client, "path": path}
        await self._app(scope, receive, send)

    def _inner_path(self, path: str, mount: str) -> str:
        named = unquote(mount)
        if not mount or not f"{path}/".startswith(f"{named}/") or self._is_served(path):
            return path
        return path[len(named) :] or "/"


def _single_slashes(scope: Scope) -> str:
    """The path without double slashes and without one at its end. Those that the client wrote
    as ``%2F`` belong to an id and stay."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or quote(path).encode()
    kept = _SLASHES.sub(b"/", raw).rstrip(b"/") or b"/"
    return path if kept == raw else unquote(kept.decode("ascii"))


def _forwarded_prefix(header: bytes) -> str:
    """What proxies have put before the path, the outermost first; empty if that is no path."""
    parts = header.decode("latin-1").split(",")
    prefix = "".join(part.strip().rstrip("/") for part in parts)
    return prefix if _PREFIX.fullmatch(prefix) else ""


def _forwarded_client(
    headers: Mapping[bytes, bytes], proxy: str, trusted: Sequence[Network]
) -> str:
    """The nearest address that is no trusted proxy's, of those that proxies report."""
    reported = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    client = proxy
    for host in (each.strip() for each in reversed(reported)):
        if not _is_within(client, trusted) or _address(host) is None:
            break
        client = host
    return client


def _is_within(host: str, networks: Sequence[Network]) -> bool:
    address = _address(host)
    return address is not None and any(address in network for network in networks)


def _address(host: str) -> Address | None:
    """IPv4 also where a socket for both kinds reports it as IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
