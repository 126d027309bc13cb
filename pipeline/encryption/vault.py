"""Secrets at rest: sealed under the current master key, opened under any that is known."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.config.settings import Settings
from pipeline.encryption.keyring import KEY_BYTES, FixedKeys, Keyring, open_keyring
from pipeline.errors import ConfigurationError, DecryptionFailed

NONCE_BYTES = 12  # the size AES-GCM is defined for (NIST SP 800-38D)
TAG_BYTES = 16

# A sealed value begins with this and its key's id. Values of before keys could be rotated
# begin with their nonce.
_MARK = b"\x00fk1"
_ID_BYTES = 8
_HEAD = len(_MARK) + _ID_BYTES

UNMARKED = "unmarked"
"""What ``key_id`` says of a value that does not name its key."""


@dataclass(frozen=True, slots=True)
class _MasterKey:
    """One master key. ``id`` tells nothing about it; ``first_pepper`` is what fingerprints
    were made with before the pepper was a value of its own."""

    id: bytes
    cipher: AESGCM = field(repr=False)
    first_pepper: bytes = field(repr=False)


class Vault:
    """Seals and opens under the keys of a keyring; thread-safe. Every method may raise
    ``ConfigurationError`` for keys that cannot be read."""

    def __init__(self, keys: bytes | Keyring) -> None:
        """``keys`` may be a single master key (32 bytes)."""
        self._ring = FixedKeys(keys) if isinstance(keys, bytes) else keys
        self._lock = threading.Lock()
        self._raw: tuple[bytes, ...] = ()
        self._keys: tuple[_MasterKey, ...] = ()
        self._current_keys()

    def encrypt(self, secret: str | bytes, owner: str) -> bytes:
        """Encrypt ``secret`` (AES-256-GCM), bound to ``owner``."""
        key, nonce = self._current_keys()[0], os.urandom(NONCE_BYTES)
        plain = secret.encode() if isinstance(secret, str) else secret
        return _MARK + key.id + nonce + key.cipher.encrypt(nonce, plain, owner.encode())

    def decrypt_text(self, sealed: bytes, owner: str) -> str:
        """The text that was sealed for ``owner``. Raises ``ConfigurationError`` when no
        known key opens it."""
        try:
            return self.decrypt(sealed, owner).decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError("a stored secret is no text") from error

    def decrypt(self, sealed: bytes, owner: str) -> bytes:
        """The bytes that were sealed for ``owner``. Raises ``ConfigurationError``."""
        # Reading the keys anew costs one look at a file, and finds a key that another
        # process has sealed under since.
        keys = self._current_keys()
        if sealed.startswith(_MARK):
            named = [key for key in keys if key.id == sealed[len(_MARK) : _HEAD]]
            for key in named:
                opened = _try_decrypt(key, sealed[_HEAD:], owner)
                if opened is not None:
                    return opened
        for key in keys:
            opened = _try_decrypt(key, sealed, owner)
            if opened is not None:
                return opened
        raise ConfigurationError(
            "a stored secret was sealed under another master key; set FACELINE_MASTER_KEY, or "
            "FACELINE_MASTER_KEYS_OLD beside it, to the key it was made with"
        )

    def key_id(self, sealed: bytes) -> str:
        """The id of the key that a value was sealed under (hex), or ``UNMARKED``."""
        return sealed[len(_MARK) : _HEAD].hex() if sealed.startswith(_MARK) else UNMARKED

    def is_current(self, sealed: bytes) -> bool:
        """Whether a value is sealed under the current key."""
        return self.key_id(sealed) == self.key_ids()[0]

    def key_ids(self) -> list[str]:
        """The ids (hex) of the known keys, the current one first."""
        return [key.id.hex() for key in self._current_keys()]

    def first_pepper(self) -> bytes:
        """What fingerprints were made with under the oldest known key."""
        return self._current_keys()[-1].first_pepper

    def _current_keys(self) -> tuple[_MasterKey, ...]:
        raw = self._ring.keys()
        with self._lock:
            if raw != self._raw:
                self._keys, self._raw = tuple(_master_key(key) for key in raw), raw
            return self._keys


def _master_key(master: bytes) -> _MasterKey:
    return _MasterKey(
        _derive(master, b"faceline key id", _ID_BYTES),
        AESGCM(_derive(master, b"faceline seal")),
        _derive(master, b"faceline pepper"),
    )


def _try_decrypt(key: _MasterKey, body: bytes, owner: str) -> bytes | None:
    try:
        return key.cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], owner.encode())
    except (InvalidTag, ValueError):
        return None


class DataKey:
    """The key of one tenant's data (32 bytes): encrypts and decrypts with AES-256-GCM, and
    names things by what tells nothing without it. Of values sealed under one key there
    may be 2**32: nonces are random (NIST SP 800-38D, 8.3)."""

    def __init__(self, tenant_id: int, key: bytes) -> None:
        self._tenant = f"t{tenant_id}|"
        self._cipher = AESGCM(_derive(key, b"faceline data"))
        self._marks = _derive(key, b"faceline mark")

    def encrypt(self, data: bytes, label: str) -> bytes:
        """``input_bytes``, which only opens under the same ``label``; 28 bytes longer."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, self._associated_data(label))

    def decrypt(self, sealed: bytes, label: str) -> bytes:
        """Raises ``DecryptionFailed``."""
        view = memoryview(sealed)
        try:
            return self._cipher.decrypt(
                view[:NONCE_BYTES], view[NONCE_BYTES:], self._associated_data(label)
            )
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed from error

    def keyed_hash(self, text: str) -> str:
        """HMAC-SHA256 (hex): the same for the same text, and for nobody else."""
        return hmac.digest(self._marks, text.encode(), "sha256").hex()

    def _associated_data(self, label: str) -> bytes:
        return (self._tenant + label).encode()


class KeySource(Protocol):
    """Knows the data keys of tenants."""

    def data_key(self, tenant_id: int) -> DataKey | None:
        """A tenant's key; None when its data are stored as they are.

        Raises ``TenantNotFound`` when there is no such tenant or its key was destroyed,
        ``DatabaseUnavailable``, ``ConfigurationError``.
        """
        ...


class NoKeys:
    """A ``KeySource`` for data that are stored as they are."""

    def data_key(self, tenant_id: int) -> DataKey | None:  # noqa: ARG002
        return None


def _derive(master: bytes, purpose: bytes, length: int = KEY_BYTES) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(master)


def open_vault(settings: Settings) -> Vault:
    """The vault under the configured master keys, or under the data directory's own,
    made on first use and readable by its owner only.

    Raises ``ConfigurationError``.
    """
    return Vault(open_keyring(settings))


def fingerprint(pepper: bytes, secret: str) -> bytes:
    """HMAC-SHA256 of a random secret, to recognise it by (32 bytes)."""
    # What a stranger sends need not be valid Unicode.
    return hmac.digest(pepper, secret.encode(errors="surrogatepass"), "sha256")


def digest(*parts: str | bytes) -> str:
    """SHA-256 (hex) over parts, unambiguous about where each ends."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()
