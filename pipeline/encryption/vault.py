"""The vault: small secrets encrypted under the current master key, and decrypted under any
known one."""

from __future__ import annotations

import os
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.config.settings import Settings
from pipeline.encryption.data_key import NONCE_BYTES
from pipeline.encryption.hashing import derive_key
from pipeline.encryption.keyring import FixedKeys, KeyFile, open_keyring
from pipeline.errors import ConfigurationError, WrongMasterKey

# An encrypted value is this, the id of its master key, a nonce and the ciphertext.
_MARK = b"\x00fk1"
_ID_BYTES = 8
_HEADER_BYTES = len(_MARK) + _ID_BYTES


class Vault:
    """Encrypts and decrypts under the keys of a keyring; thread-safe. Every method may raise
    ``ConfigurationError`` for keys that cannot be read."""

    def __init__(self, keys: bytes | FixedKeys | KeyFile) -> None:
        """``keys`` may be a single master key (32 bytes)."""
        self._ring = FixedKeys(keys) if isinstance(keys, bytes) else keys
        self._lock = threading.Lock()
        self._raw: tuple[bytes, ...] = ()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._current_ciphers()

    def encrypt(self, secret: str | bytes, owner: str) -> bytes:
        """``secret`` encrypted with AES-256-GCM; it decrypts for the same ``owner`` only."""
        key_id, cipher = next(iter(self._current_ciphers().items()))
        plain = secret.encode() if isinstance(secret, str) else secret
        nonce = os.urandom(NONCE_BYTES)
        return _MARK + key_id + nonce + cipher.encrypt(nonce, plain, owner.encode())

    def decrypt_text(self, encrypted: bytes, owner: str) -> str:
        """Like ``decrypt``, for a secret that is text."""
        try:
            return self.decrypt(encrypted, owner).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError("a stored secret is no text") from error

    def decrypt(self, encrypted: bytes, owner: str) -> bytes:
        """The secret of ``owner``. Raises ``WrongMasterKey`` when its key is not known,
        and ``ConfigurationError`` when it was changed."""
        # Checking the keyring costs one look at a file; another process may have encrypted
        # under a key that is new in it.
        cipher = self._current_ciphers().get(encrypted[len(_MARK) : _HEADER_BYTES])
        if cipher is None or not encrypted.startswith(_MARK):
            raise WrongMasterKey(
                "a stored secret was encrypted under another master key; set "
                "FACELINE_MASTER_KEY, or FACELINE_MASTER_KEYS_OLD beside it, to the key it was "
                "made with"
            )
        body = encrypted[_HEADER_BYTES:]
        try:
            return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], owner.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError("a stored secret was changed since it was written") from error

    def key_id(self, encrypted: bytes) -> str:
        """The id (hex) of the key that a value was encrypted under."""
        return encrypted[len(_MARK) : _HEADER_BYTES].hex()

    def is_current(self, encrypted: bytes) -> bool:
        """Whether a value is encrypted under the current key."""
        return self.key_id(encrypted) == self.key_ids()[0]

    def key_ids(self) -> list[str]:
        """The ids (hex) of the known keys, the current one first."""
        return [key_id.hex() for key_id in self._current_ciphers()]

    def derived_keys(self, purpose: bytes) -> list[bytes]:
        """A key (32 bytes) for one purpose of each known master key, the current one last."""
        return [derive_key(key, purpose) for key in reversed(self._ring.keys())]

    def _current_ciphers(self) -> dict[bytes, AESGCM]:
        """The ciphers of the known keys by id, which reveals nothing about its key; the
        current one first."""
        raw = self._ring.keys()
        with self._lock:
            if raw != self._raw:
                self._raw = raw
                self._ciphers = {
                    derive_key(key, b"faceline key id", _ID_BYTES):
                    AESGCM(derive_key(key, b"faceline seal"))
                    for key in raw
                }
            return self._ciphers


def webhook_secret_owner(webhook_id: int) -> str:
    """The owner that the secrets of a webhook are bound to."""
    return f"secret of webhook {webhook_id}"


def codes_secret_owner(operator_id: int) -> str:
    """The owner that an operator's secret of one-time codes is bound to."""
    return f"one-time codes of operator {operator_id}"


def open_vault(settings: Settings) -> Vault:
    """The vault under the configured master keys, or under the key file of the data
    directory, which is created on first use. Raises ``ConfigurationError``."""
    return Vault(open_keyring(settings))
