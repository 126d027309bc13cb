"""The key that encrypts one tenant's data, and the interface through which it is found."""

from __future__ import annotations

import hmac
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.encryption.hashing import derive_key
from pipeline.errors import DecryptionFailed

NONCE_BYTES = 12  # the size AES-GCM is defined for (NIST SP 800-38D)


class DataKey:
    """A tenant's key (32 bytes): encrypts with AES-256-GCM, and replaces names by keyed
    hashes. It may encrypt 2**32 values, as nonces are random (NIST SP 800-38D, 8.3)."""

    def __init__(self, tenant_id: int, key: bytes) -> None:
        self._tenant = f"t{tenant_id}|"
        self._cipher = AESGCM(derive_key(key, b"faceline data"))
        self._hash_key = derive_key(key, b"faceline mark")

    def encrypt(self, data: bytes, label: str) -> bytes:
        """``data`` encrypted, 28 bytes longer; it decrypts under the same ``label`` only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, self._associated_data(label))

    def decrypt(self, encrypted: bytes, label: str) -> bytes:
        """Raises ``DecryptionFailed``."""
        view = memoryview(encrypted)
        try:
            return self._cipher.decrypt(
                view[:NONCE_BYTES], view[NONCE_BYTES:], self._associated_data(label)
            )
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed from error

    def keyed_hash(self, text: str) -> str:
        """HMAC-SHA256 (hex) of ``text``, which reveals nothing without the key."""
        return hmac.digest(self._hash_key, text.encode(), "sha256").hex()

    def _associated_data(self, label: str) -> bytes:
        return (self._tenant + label).encode()


class KeySource(Protocol):
    """Finds the data keys of tenants."""

    def data_key(self, tenant_id: int) -> DataKey | None:
        """A tenant's key; None when its data are stored unencrypted.

        Raises ``TenantNotFound`` when there is no such tenant or its key was destroyed,
        ``DatabaseUnavailable``, ``ConfigurationError``.
        """


class NoKeys:
    """A ``KeySource`` for unencrypted data."""

    def data_key(self, tenant_id: int) -> DataKey | None:  # noqa: ARG002
        return None
