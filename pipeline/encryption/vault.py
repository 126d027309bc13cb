"""The vault: small secrets encrypted under the current master key, and decrypted under any
known one."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.config.settings import Settings
from pipeline.encryption.data_key import NONCE_BYTES
from pipeline.encryption.hashing import derive_key
from pipeline.encryption.keyring import FixedKeys, Keyring, open_keyring
from pipeline.errors import ConfigurationError

# An encrypted value is this, the id of its master key, a nonce and the ciphertext.
_MARK = b"\x00fk1"
_ID_BYTES = 8
_HEADER_BYTES = len(_MARK) + _ID_BYTES


@dataclass(frozen=True, slots=True)
class _MasterKey:
    """One master key; its ``id`` reveals nothing about it."""

    id: bytes
    cipher: AESGCM = field(repr=False)


class Vault:
    """Encrypts and decrypts under the keys of a keyring; thread-safe. Every method may raise
    ``ConfigurationError`` for keys that cannot be read."""

    def __init__(self, keys: bytes | Keyring) -> None:
        """``keys`` may be a single master key (32 bytes)."""
        self._ring = FixedKeys(keys) if isinstance(keys, bytes) else keys
        self._lock = threading.Lock()
        self._raw: tuple[bytes, ...] = ()
        self._keys: tuple[_MasterKey, ...] = ()
        self._current_keys()

    def encrypt(self, secret: str | bytes, owner: str) -> bytes:
        """``secret`` encrypted with AES-256-GCM; it decrypts for the same ``owner`` only."""
        key, nonce = self._current_keys()[0], os.urandom(NONCE_BYTES)
        plain = secret.encode() if isinstance(secret, str) else secret
        return _MARK + key.id + nonce + key.cipher.encrypt(nonce, plain, owner.encode())

    def decrypt_text(self, encrypted: bytes, owner: str) -> str:
        """Like ``decrypt``, for a secret that is text."""
        try:
            return self.decrypt(encrypted, owner).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError("a stored secret is no text") from error

    def decrypt(self, encrypted: bytes, owner: str) -> bytes:
        """The secret of ``owner``. Raises ``ConfigurationError`` when no known key fits."""
        # Checking the keyring costs one look at a file; another process may have encrypted
        # under a key that is new in it.
        header, body = encrypted[:_HEADER_BYTES], encrypted[_HEADER_BYTES:]
        for key in self._current_keys():
            if header == _MARK + key.id:
                try:
                    return key.cipher.decrypt(
                        body[:NONCE_BYTES], body[NONCE_BYTES:], owner.encode()
                    )
                except (InvalidTag, ValueError):
                    break
        raise ConfigurationError(
            "a stored secret was encrypted under another master key; set FACELINE_MASTER_KEY, "
            "or FACELINE_MASTER_KEYS_OLD beside it, to the key it was made with"
        )

    def key_id(self, encrypted: bytes) -> str:
        """The id (hex) of the key that a value was encrypted under."""
        return encrypted[len(_MARK) : _HEADER_BYTES].hex()

    def is_current(self, encrypted: bytes) -> bool:
        """Whether a value is encrypted under the current key."""
        return self.key_id(encrypted) == self.key_ids()[0]

    def key_ids(self) -> list[str]:
        """The ids (hex) of the known keys, the current one first."""
        return [key.id.hex() for key in self._current_keys()]

    def _current_keys(self) -> tuple[_MasterKey, ...]:
        raw = self._ring.keys()
        with self._lock:
            if raw != self._raw:
                self._keys, self._raw = tuple(_master_key(key) for key in raw), raw
            return self._keys


def _master_key(key: bytes) -> _MasterKey:
    return _MasterKey(
        derive_key(key, b"faceline key id", _ID_BYTES), AESGCM(derive_key(key, b"faceline seal"))
    )


def open_vault(settings: Settings) -> Vault:
    """The vault under the configured master keys, or under the key file of the data
    directory, which is created on first use. Raises ``ConfigurationError``."""
    return Vault(open_keyring(settings))
