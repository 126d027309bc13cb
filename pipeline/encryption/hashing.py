"""Keyed and plain hashes: derived keys, fingerprints of secrets, digests of several parts."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.encryption.keyring import KEY_BYTES


def derive_key(key: bytes, purpose: bytes, length: int = KEY_BYTES) -> bytes:
    """A key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(key)


def fingerprint(pepper: bytes, secret: str) -> bytes:
    """HMAC-SHA256 of a random secret (32 bytes), by which the secret is recognised."""
    # A client's text need not be valid Unicode.
    return hmac.digest(pepper, secret.encode(errors="surrogatepass"), "sha256")


def digest(*parts: str | bytes) -> str:
    """SHA-256 (hex) over the parts and their lengths, so that no two lists of parts share one."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()
