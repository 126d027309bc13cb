"""The interface of media stores, which keep pictures and clips."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import InvalidParameter, MediaCorrupt
from pipeline.storage_keys import is_encrypted, media_name, plain_name

PROBE = b"probe"
"""The bytes that ``try_write`` stores."""

MAX_KEY_CHARS = 512  # S3 allows 1,024 bytes, a file system 255 bytes a part


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's key, its size in bytes and the time of its last write (epoch s)."""

    key: str
    size: int
    modified: float


class MediaStore(Protocol):
    """Whole objects under keys made by ``pipeline.storage_keys``. The last part of a key
    derives from the bytes (``name``), so that writing a key twice is harmless.

    Every method raises ``MediaUnavailable`` within the store's time limit when the store
    does not answer, and ``MediaFull``, which is one, when it has no space left.
    """

    def name(self, tenant_id: int, data: bytes) -> str:
        """The last part of the key for these bytes of ``tenant_id``."""
        return self.name_of(tenant_id, plain_name(data))

    def name_of(self, tenant_id: int, sha256: str) -> str:  # noqa: ARG002
        """The same for bytes with this SHA-256 (hex); an unencrypted object has it as name."""
        return sha256

    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` atomically: a reader sees all of it or nothing."""
        ...

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store each (key, data), cheaper than one by one. Each object is stored atomically;
        after an error some may be stored."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes, checked against the hash in the key.

        Raises ``MediaNotFound``, or ``MediaCorrupt`` when the hash differs.
        """
        ...

    def stored_form(self, key: str, data: bytes) -> bytes:  # noqa: ARG002
        """What is stored of ``data`` under ``key``: encrypted bytes where the key says so."""
        return data

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove the object, if it exists."""
        ...

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below ``prefix``, in order of its key."""
        ...

    def ping(self) -> None:
        """Return when the store can be used. Makes no bucket."""
        ...

    def prepare(self) -> bool:
        """Make the bucket or directory if it is missing; whether it was."""
        ...

    def server_time(self) -> float | None:
        """The epoch seconds, cut to whole ones, of the store's server; None without one."""
        return None

    def check_access(self) -> None:
        """Return when objects may be read, written and deleted; none is written. Raises
        ``MediaUnavailable``, whose message says what is not permitted."""
        ...

    def try_write(self) -> None:
        """Store a small object, if possible where a photo would have room, and remove it again.
        Raises ``MediaFull`` when no space is left."""
        ...


class WrappingStore(MediaStore):
    """A ``MediaStore`` on top of another one, and equal to it where it overrides nothing."""

    def __init__(self, inner: MediaStore) -> None:
        self._inner = inner

    def name_of(self, tenant_id: int, sha256: str) -> str:
        return self._inner.name_of(tenant_id, sha256)

    def put(self, key: str, data: bytes) -> None:
        self._inner.put(key, data)

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        self._inner.put_many(pairs)

    def get(self, key: str) -> bytes:
        return self._inner.get(key)

    def stored_form(self, key: str, data: bytes) -> bytes:
        return self._inner.stored_form(key, data)

    def exists(self, key: str) -> bool:
        return self._inner.exists(key)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        return self._inner.walk(prefix)

    def ping(self) -> None:
        self._inner.ping()

    def try_write(self) -> None:
        self._inner.try_write()

    def prepare(self) -> bool:
        return self._inner.prepare()

    def server_time(self) -> float | None:
        return self._inner.server_time()

    def check_access(self) -> None:
        self._inner.check_access()


def age_limit(media: MediaStore, now: float, age_s: float) -> float:
    """The time of change before which an object of ``media`` is older than ``age_s`` seconds, by
    the database's clock (``now``, epoch seconds) and by that of the store's server, which dates
    objects. Raises ``MediaUnavailable``."""
    told = media.server_time()
    return (now if told is None else min(now, told)) - age_s


KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def check_key(key: str) -> str:
    """Returns a valid ``key``. Raises ``InvalidParameter`` for keys that could leave the
    store."""
    if len(key) > MAX_KEY_CHARS or KEY.fullmatch(key) is None:
        raise InvalidParameter(f"not a media key: {key[:80]!r}")
    return key


def check_bytes(key: str, data: bytes) -> bytes:
    """Returns ``data`` after comparing its hash with the key. An encrypted object is checked
    at decryption. Raises ``MediaCorrupt``."""
    if not is_encrypted(key) and plain_name(data) != media_name(key):
        raise MediaCorrupt(
            f"The stored object {key} is damaged: {len(data)} bytes with another hash than "
            "was stored."
        )
    return data
