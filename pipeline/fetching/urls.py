"""Parses untrusted URLs strictly, and refuses everything but plain http URLs.

Lenient parsers allow attacks: one program sees one host, the next another. Here a URL is
parsed once, and the connection uses the result.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import idna

from pipeline.fetching.base import FetchRefused, refused_as

# Longest URL in characters; servers rarely accept more.
MAX_URL_CHARS = 4096

DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")

# Control characters, spaces, characters that some parsers take for a slash or an end, and
# halves of surrogate pairs.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"\u2028\u2029\ufeff\ud800-\udfff]")

# Characters that stay in a path or query; all others are percent-encoded as UTF-8.
_KEPT = "%/?:@!$&'()*+,;=-._~[]"


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """The server and the path of a request. ``host`` is a name in ASCII or an IP address without
    brackets, ``path`` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The Host header, without the default port of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def read_url(url: str, ports: Collection[int]) -> FetchTarget:
    """Parses ``url``, which must use one of ``ports``. Raises ``FetchRefused``."""
    if not url or len(url) > MAX_URL_CHARS:
        raise FetchRefused("an empty or a very long URL")
    if _FORBIDDEN.search(url):
        raise FetchRefused("a character that a URL cannot have")
    with refused_as("no URL"):
        parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise FetchRefused("a scheme other than http and https")
    host, port = _split_authority(parts.netloc, DEFAULT_PORTS[parts.scheme])
    if port not in ports:
        raise FetchRefused(f"port {port}")
    path = parts.path or "/"
    if parts.query:
        path = f"{path}?{parts.query}"
    return FetchTarget(parts.scheme, read_host(host), port, quote(path, safe=_KEPT))


def follow_redirect(target: FetchTarget, location: str, ports: Collection[int]) -> FetchTarget:
    """The target of a redirect from ``target``. Raises ``FetchRefused``."""
    if _FORBIDDEN.search(location):
        raise FetchRefused("a redirect with a character that a URL cannot have")
    with refused_as("a redirect to no URL"):
        joined = urljoin(target.url, location)
    redirected = read_url(joined, ports)
    if target.secure and not redirected.secure:
        raise FetchRefused("a redirect from https to http")
    return redirected


def read_host(host: str) -> str:
    """The normalised host: an IP address in its usual form, or a name in lower-case ASCII.
    Raises ``FetchRefused``, also for odd spellings of addresses (`127.1`, `0x7f000001`)."""
    if host.startswith("[") and host.endswith("]"):
        return _read_ipv6(host[1:-1])
    name = _ascii(host).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        with refused_as("an odd spelling of an address"):
            return str(ipaddress.IPv4Address(name))
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise FetchRefused("no host name")
    return name


def _split_authority(netloc: str, default_port: int) -> tuple[str, int]:
    if "@" in netloc:
        raise FetchRefused("a URL with credentials")
    if netloc.endswith("]") or ":" not in netloc:
        return netloc, default_port
    host, _, port = netloc.rpartition(":")
    if not _PORT.fullmatch(port):
        raise FetchRefused("no port number")
    return host, int(port)


def _ascii(host: str) -> str:
    """The name in ASCII by UTS 46, which maps full-width digits and dots to plain ones before
    the checks."""
    if host.isascii():
        return host.lower()
    with refused_as("no host name"):
        return idna.encode(host, uts46=True).decode("ascii").lower()


def _read_ipv6(text: str) -> str:
    with refused_as("no IPv6 address"):
        address = ipaddress.IPv6Address(text)
    if address.scope_id is not None:
        raise FetchRefused("an address of one link")
    return str(address)
