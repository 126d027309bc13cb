"""Secrets at rest: encrypted when they must be read again, an HMAC when they must
only be recognised. Everything hangs on one master key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.config import Settings
from pipeline.errors import ConfigurationError

KEY_BYTES = 32
NONCE_BYTES = 12  # the size AES-GCM is defined for (NIST SP 800-38D)


class Vault:
    """Seals, opens and recognises secrets under one master key (32 bytes)."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise ConfigurationError(f"the master key must be {KEY_BYTES} bytes")
        self._cipher = AESGCM(_derive(master_key, b"faceline seal"))
        self._pepper = _derive(master_key, b"faceline pepper")

    def seal(self, secret: str, owner: str) -> bytes:
        """Encrypt ``secret`` (AES-256-GCM), bound to ``owner``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """The secret that was sealed for ``owner``. Raises ``ConfigurationError`` when
        it was sealed under another master key."""
        nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, owner.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                "a stored secret was sealed under another master key; "
                "set FACELINE_MASTER_KEY to the key it was made with"
            ) from error

    def fingerprint(self, secret: str) -> bytes:
        """HMAC-SHA256 of a random secret, to recognise it by (32 bytes)."""
        # What a stranger sends need not be valid Unicode.
        return hmac.digest(self._pepper, secret.encode(errors="surrogatepass"), "sha256")

    def recognises(self, secret: str, fingerprint: bytes) -> bool:
        """Whether ``fingerprint`` is that of ``secret``, in constant time."""
        return hmac.compare_digest(self.fingerprint(secret), fingerprint)


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(master_key)


def open_vault(settings: Settings) -> Vault:
    """The vault under the configured master key, or under the data directory's own,
    made on first use and readable by its owner only.

    Raises ``ConfigurationError``.
    """
    configured = settings.master_key.get_secret_value()
    if configured:
        return Vault(_decode(configured, "FACELINE_MASTER_KEY"))
    path = settings.data_dir / "master.key"
    try:
        if not path.exists():
            _make_key(path)
        return Vault(_decode(path.read_text().strip(), str(path)))
    except OSError as error:
        raise ConfigurationError(f"the master key cannot be kept: {error}") from error


def _decode(text: str, source: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ConfigurationError(f"{source} is not Base64") from error


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".master.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # link() fails when another process was first: its key counts.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def digest(*parts: str | bytes) -> str:
    """SHA-256 (hex) over parts, unambiguous about where each ends."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()
