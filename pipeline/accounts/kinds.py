"""Kinds of credentials: how ids and secrets are made, and how a secret is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

# Characters of an API key that name its row; the rest is secret.
API_KEY_ID_CHARS = 12

# Nine digits, so that every client's integer type holds the number; random, so that a gap
# does not tell how many there are.
FIRST_NUMBER, LAST_NUMBER = 100_000_000, 999_999_999


@dataclass(frozen=True, slots=True)
class CredentialKind:
    """``name`` is stored with every credential of the kind; ``new_id`` makes a public id for a
    fresh secret. The secret is stored encrypted when it is ``readable`` (to verify signatures),
    otherwise as a fingerprint. With ``id_in_secret`` a rotation changes the id, too."""

    name: str
    new_secret: Callable[[], str]
    new_id: Callable[[str], str]
    readable: bool = False
    id_in_secret: bool = False


API_KEY = CredentialKind(
    "key", secrets.token_urlsafe, lambda key: key[:API_KEY_ID_CHARS], id_in_secret=True
)

ID_AND_SECRET = CredentialKind(
    "id_secret", lambda: secrets.token_hex(32), lambda _: secrets.token_hex(16)
)

NUMBER_AND_KEY = CredentialKind(
    "number", secrets.token_urlsafe,
    lambda _: str(FIRST_NUMBER + secrets.randbelow(LAST_NUMBER - FIRST_NUMBER + 1)),
)


def _upper_hex() -> str:
    return secrets.token_hex(16).upper()


SIGNING = CredentialKind("signed", _upper_hex, lambda _: _upper_hex(), readable=True)
"""An id with a shared secret that signs requests, and an SM2 public key when there is one."""
