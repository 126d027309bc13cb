"""Where pictures and clips are kept: one seam, several stores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import InvalidParameter, MediaCorrupt
from pipeline.storage_keys import is_encrypted, media_name, plain_name

MAX_KEY_CHARS = 512  # S3 allows 1,024 bytes, a file system 255 bytes a part


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's key, its size in bytes and the time of its last write (epoch s)."""

    key: str
    size: int
    modified: float


class MediaStore(Protocol):
    """Whole objects under keys made by ``pipeline.storage_keys``; the last part of a key is
    made from the bytes (``enrolled_name``), so writing a key twice is harmless.

    Every method raises ``MediaUnavailable`` within the store's own time limit when
    the store does not answer.
    """

    def name(self, tenant_id: int, data: bytes) -> str:
        """The last part of the key of an object of ``tenant_id`` with these bytes."""
        ...

    def name_of(self, tenant_id: int, sha256: str) -> str:
        """The same for bytes with this SHA-256 (hex)."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Store ``input_bytes``; a reader sees all of it or nothing."""
        ...

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store the data of each (key, data), at less cost than one after the other. When
        it raises, some may be stored; each is there whole or not at all."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes, checked against the hash in the key.

        Raises ``MediaNotFound``, or ``MediaCorrupt`` when the hash differs.
        """
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove the object; it is no error when it is not there."""
        ...

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below ``prefix``, in order of key."""
        ...

    def ping(self) -> None:
        """Return when the store can be used."""
        ...


KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def check_key(key: str) -> str:
    """``key``, when it cannot lead out of the store. Raises ``InvalidParameter``."""
    if len(key) > MAX_KEY_CHARS or KEY.fullmatch(key) is None:
        raise InvalidParameter(f"not a media key: {key[:80]!r}")
    return key


def check_bytes(key: str, data: bytes) -> bytes:
    """``input_bytes``, when it has the hash in its key; an encrypted object is checked when it is
    opened. Raises ``MediaCorrupt``."""
    if not is_encrypted(key) and plain_name(data) != media_name(key):
        raise MediaCorrupt(f"{key}: {len(data)} bytes with another hash than was stored")
    return data
