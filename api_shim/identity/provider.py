"""An identity provider as the console sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from pipeline.operators.external import Identity

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """What the browser keeps between the way to the provider and the way back: ``state`` comes
    back with it, ``nonce`` in the token, and ``verifier`` proves who began (PKCE)."""

    state: str
    nonce: str
    verifier: str


class IdentityProvider(Protocol):
    """Its methods block. They raise ``IdentityProviderUnavailable``."""

    host: str
    creates_accounts: bool

    def begin(self, redirect_url: str) -> tuple[str, BegunSignIn]:
        """The address that the browser is sent to, and what it keeps."""
        ...

    def finish(
        self, begun: BegunSignIn, redirect_url: str, answer: Mapping[str, str]
    ) -> Identity:
        """Who has signed in, by what the browser brings back. Raises ``IdentityRefused``."""
        ...


def is_safe(url: str, issuer: str) -> bool:
    """Whether a URL is one of https, or of http on this machine where the issuer's is, too."""
    try:
        parts, own = urlsplit(url), urlsplit(issuer)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    plain = parts.scheme == own.scheme == "http" and host in LOOPBACK and own.hostname in LOOPBACK
    return (
        (plain or parts.scheme == "https") and bool(host) and "@" not in parts.netloc
        and not parts.fragment
    )
