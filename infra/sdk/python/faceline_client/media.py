"""Pictures and clips, as callers give them and as requests carry them."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

Media = bytes | bytearray | memoryview | str | os.PathLike[str]
"""A file's bytes, or its path. JPEG, PNG and BMP are taken everywhere; README and docs/api.md of
the service list what else each operation takes."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture that the service keeps, by the id that an earlier comparison gave."""

    id: str


@dataclass(frozen=True, slots=True)
class Url:
    """A picture that the service fetches, if its operator allows that."""

    url: str


def read_media(media: Media) -> bytes:
    """The bytes of a file. Raises ``OSError`` for a path that cannot be read."""
    if isinstance(media, (bytes, bytearray, memoryview)):
        return bytes(media)
    return Path(media).read_bytes()


def to_base64(media: Media) -> str:
    return base64.b64encode(read_media(media)).decode()
