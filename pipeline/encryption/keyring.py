"""The master keys of an installation: the current one, and former ones that still decrypt.

They come from the environment, which a process reads once, or from a file, which it reads
again when the file has changed. So every process knows a new key of the file before another
process encrypts under it.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError

logger = logging.getLogger(__name__)

KEY_BYTES = 32


class FixedKeys:
    """Keys that stay the same for the life of the process."""

    def __init__(self, *keys: bytes) -> None:
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ConfigurationError(f"a master key must be {KEY_BYTES} bytes")
        self._keys = keys

    def keys(self) -> tuple[bytes, ...]:
        """The current key, then the former ones."""
        return self._keys


class KeyFile:
    """A file with one key (Base64) per line, the current one first. With ``make`` a missing
    file is created with a fresh key on first use. A process that has read the keys keeps
    them when the file is lost or damaged later."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        self._make = make
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[bytes, ...] = ()

    def keys(self) -> tuple[bytes, ...]:
        """The current key, then the former ones. Raises ``ConfigurationError``."""
        try:
            self._reload()
        except ConfigurationError as error:
            if not self._keys:
                raise
            if self._seen is not None:
                logger.warning(
                    "The master keys cannot be read again", exc_info=error,
                    extra={"action": "keys_unreadable"},
                )
            self._seen = None
        return self._keys

    def _reload(self) -> None:
        with _map_errors():
            if self._make and not self._keys and not self.path.exists():
                _write_new(self.path, [os.urandom(KEY_BYTES)])
            status = self.path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._keys = _parse(self.path.read_text(), str(self.path))
                self._seen = seen

    def add(self, fresh: bytes) -> None:
        """Make ``fresh`` the current key; the others stay, to decrypt."""
        self._change(lambda keys: [fresh, *(key for key in keys if key != fresh)])

    def remove_former(self) -> int:
        """Remove all keys except the current one; returns how many."""
        before = len(self.keys())
        self._change(lambda keys: keys[:1])
        return before - 1

    def _change(self, edit: Callable[[list[bytes]], list[bytes]]) -> None:
        with _map_errors(), _locked(self.path):
            self._reload()
            fresh = _write_temporary(self.path, edit(list(self._keys)))
            fresh.replace(self.path)
            _sync_folder(self.path.parent)


def open_keyring(settings: Settings) -> FixedKeys | KeyFile:
    """The configured keys, or those in the key file. Raises ``ConfigurationError``."""
    configured = settings.master_key.get_secret_value()
    older = settings.master_keys_old.get_secret_value()
    if configured:
        names = [part.strip() for part in older.split(",") if part.strip()]
        return FixedKeys(
            decode_key(configured, "FACELINE_MASTER_KEY"),
            *(decode_key(name, "FACELINE_MASTER_KEYS_OLD") for name in names),
        )
    if older:
        raise ConfigurationError("FACELINE_MASTER_KEYS_OLD stands beside FACELINE_MASTER_KEY only")
    if settings.master_key_file:
        # A file that the operator names is never created here: a process that found it
        # missing would encrypt under a key that no other process has.
        return KeyFile(Path(settings.master_key_file), make=False)
    return KeyFile(settings.data.master_key)


def encode_key(key: bytes) -> str:
    """A key as text, for the environment and the key file."""
    return base64.b64encode(key).decode()


def decode_key(text: str, source: str) -> bytes:
    """The key in a text of ``encode_key``. Raises ``ConfigurationError``, which names
    ``source``."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ConfigurationError(f"{source} is not Base64") from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{source}: a master key must be {KEY_BYTES} bytes")
    return key


def _parse(text: str, source: str) -> tuple[bytes, ...]:
    keys = tuple(decode_key(line.strip(), source) for line in text.splitlines() if line.strip())
    if not keys:
        raise ConfigurationError(f"{source} holds no master key")
    return keys


def _write_new(path: Path, keys: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _write_temporary(path, keys)
    try:
        # link() fails when another process was first, and its key is used.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _write_temporary(path: Path, keys: list[bytes]) -> Path:
    """A file with these keys beside ``path``, synced to disk and readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{encode_key(key)}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file; readers do not wait."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _map_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"the master key cannot be kept: {error}") from error
