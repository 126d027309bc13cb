"""What a source of pictures is: one seam, several bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.errors import MediaNotFound, MediaTooLarge

BLOCK_BYTES = 256 * 1024


class RefusalReason(StrEnum):
    """Why an item is refused before anybody has looked at its picture. What the bytes
    themselves are refused for has the code of its error (``not_a_picture``, ...)."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    LINK = "link"
    NOT_A_FILE = "not_a_file"
    UNSAFE_NAME = "unsafe_name"
    TOO_DEEP = "too_deep"
    NO_PERSON = "no_person"
    DUPLICATE_NAME = "duplicate_name"
    BROKEN_ROW = "broken_row"
    NO_BUCKET = "no_bucket"
    ENCRYPTED = "encrypted"
    NESTED_ARCHIVE = "nested_archive"
    UNSUPPORTED = "unsupported"
    BOMB = "bomb"
    TOO_MANY = "too_many"
    ARCHIVE_DAMAGED = "archive_damaged"
    TOO_LARGE = MediaTooLarge.code
    NOT_FOUND = MediaNotFound.code


class ItemRefused(Exception):
    """This item cannot be had; the source goes on with the next. It does not leave the
    room: ``taking.take`` makes a ``Refusal`` of it."""

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class About:
    """What the source says of an item; empty where it says nothing. ``external_id`` is
    the caller's own key of it."""

    name: str = ""
    collection: str = ""
    external_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a source. ``source_name`` is its name within the source: printable
    text, the same whenever the source is read, and no other item's.

    ``read(limit)`` gives its bytes, and raises ``ItemRefused`` without reading further
    when there are more than ``limit``. It works until the source is asked for its next
    item, and once: members of an archive stream past.
    """

    source_name: str
    about: About
    read: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """Something in the source that is not taken: ``reason`` is a ``Reason`` or the code
    of an error, ``detail`` a sentence or part of one."""

    source_name: str
    reason: str
    detail: str = ""
    about: About = About()


class PictureSource(Protocol):
    """Items one after the other, in an order that is the same each time."""

    @property
    def location(self) -> str:
        """What this source is, for people."""
        ...

    def items(self) -> Iterator[Item | RefusedItem]:
        """Every item, lazily, refusals among them: nothing is left out in silence and
        nothing about one item ends the iteration. Raises ``FaceError`` only when the
        whole source cannot be used (any longer)."""
        ...

    def position(self) -> tuple[int, int]:
        """(part done, whole) in any unit; the whole is 0 when it is not known."""
        ...


class ReadableStream(Protocol):
    """Something that is read forward, as a file, a member or an answer."""

    def read(self, size: int, /) -> bytes: ...


def read_at_most(stream: ReadableStream, limit: int) -> bytes:
    """All of ``stream``. Raises ``ItemRefused`` once it has more than ``limit`` bytes."""
    body = bytearray()
    while block := stream.read(min(BLOCK_BYTES, limit + 1 - len(body))):
        body += block
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def too_large(limit: int) -> ItemRefused:
    """The refusal of a file with more than ``limit`` bytes."""
    return ItemRefused(RefusalReason.TOO_LARGE, f"larger than {limit} bytes")
