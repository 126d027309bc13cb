"""The interface of picture sources: their items, and their refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pipeline.errors import MediaNotFound, MediaTooLarge

BLOCK_BYTES = 256 * 1024


class RefusalReason(StrEnum):
    """Why an item is refused before its picture is examined. A picture that is refused for
    its content has the code of its error instead (``not_a_picture``, ...)."""

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
    NO_COLLECTION = "no_collection"
    ENCRYPTED = "encrypted"
    NESTED_ARCHIVE = "nested_archive"
    UNSUPPORTED = "unsupported"
    BOMB = "bomb"
    TOO_MANY = "too_many"
    ARCHIVE_DAMAGED = "archive_damaged"
    SKIPPED = "skipped"
    """Not an item: litter, which consumers count apart (``litter.WithoutLitter``)."""
    TOO_LARGE = MediaTooLarge.code
    NOT_FOUND = MediaNotFound.code


@dataclass(frozen=True, slots=True)
class About:
    """The source's data about an item; a field is empty where the source gives nothing.
    ``external_id`` is the caller's own key for the item."""

    name: str = ""
    collection: str = ""
    external_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a source. ``source_name`` is its name within the source: printable text
    that is the same each time the source is read, and unique within it.

    ``read(limit)`` returns the bytes. It raises ``ItemRefused``, without reading further,
    when there are more than ``limit``. It can be called once, and only until the source is
    asked for its next item: the members of an archive are read as a stream.
    """

    source_name: str
    about: About
    read: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """An entry of the source that is not accepted. ``reason`` is a ``RefusalReason`` or the
    code of an error; ``detail`` explains it. ``ends_source``: the source itself is damaged or
    exceeds a limit, and what follows in it was not read."""

    source_name: str
    reason: str
    detail: str = ""
    about: About = About()
    ends_source: bool = False


class ItemRefused(Exception):
    """One item cannot be read; the source continues with the next one. This exception stays
    inside ``pipeline.sources``: readers turn it into a ``RefusedItem``."""

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")

    def as_item(self, source_name: str, about: About | None = None) -> RefusedItem:
        return RefusedItem(source_name, self.reason, self.detail, about or About())


class PictureSource(Protocol):
    """Yields items one after another, in the same order each time."""

    @property
    def location(self) -> str:
        """Where the source is, as text for people."""

    def items(self) -> Iterator[Item | RefusedItem]:
        """Every entry, lazily. Entries that cannot be accepted come as ``RefusedItem``:
        nothing is skipped silently, and a problem with one entry does not end the
        iteration. Raises ``FaceError`` only when the whole source cannot be used."""

    def position(self) -> tuple[int, int]:
        """(part done, whole) in any unit; the whole is 0 when it is not known."""


class ReadableStream(Protocol):
    """A stream that is read forward, such as a file, a member or a response."""

    def read(self, size: int, /) -> bytes: ...


def read_at_most(stream: ReadableStream, limit: int) -> bytes:
    """All of ``stream``. Raises ``ItemRefused`` once it exceeds ``limit`` bytes."""
    body = bytearray()
    while block := stream.read(min(BLOCK_BYTES, limit + 1 - len(body))):
        body += block
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def too_large(limit: int) -> ItemRefused:
    """The refusal of a file with more than ``limit`` bytes."""
    return ItemRefused(RefusalReason.TOO_LARGE, f"larger than {limit} bytes")
