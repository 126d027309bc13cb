"""What looks odd about a source: names that are perhaps not what their maker wrote."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.identifiers import escape_controls, is_path_name
from pipeline.sources.base import Item, RefusalReason, RefusedItem
from pipeline.sources.encodings import readings, twice_decoded
from pipeline.sources.names import undecoded_bytes

_PICTURE_FILE = re.compile(r".+\.(jpe?g|png|bmp|gif|tiff?|webp|hei[cf])", re.IGNORECASE)
_LOST = re.compile("[?\ufffd]")
_BACKSLASH = "\\x5c"  # as ``names.printable`` writes it


class Oddity(StrEnum):
    """A kind of oddity; the values are those of the JSON output."""

    CUT_SHORT = "cut_short"
    ENCODING = "encoding"
    LOST_LETTERS = "lost_letters"
    TWICE_DECODED = "twice_decoded"
    BACKSLASH = "backslash"
    FILE_AS_NAME = "file_as_name"
    ONE_NAME = "one_name"
    COLLECTION = "collection"
    BROKEN_ROW = "broken_row"


MEANINGS = {
    Oddity.CUT_SHORT: "end of the source comes early, and what follows was not read",
    Oddity.ENCODING: "names are not UTF-8",
    Oddity.LOST_LETTERS: "names have lost letters, probably when the source was made",
    Oddity.TWICE_DECODED: "names were decoded in a wrong code page when the source was made",
    Oddity.BACKSLASH: "names have a backslash, which separates no folders here",
    Oddity.FILE_AS_NAME: "people have the name of a picture, whose folder is perhaps one of "
    "thumbnails",
    Oddity.ONE_NAME: "pictures, all there are, have one name, that of their folder; "
    "`--layout flat` takes the names of the files",
    Oddity.COLLECTION: "items name a collection that cannot be created, because paths cannot "
    "carry its key",
    Oddity.BROKEN_ROW: "rows cannot be used",
}


@dataclass(slots=True)
class Oddities:
    """How many items look odd, and the first example of each kind."""

    _counts: Counter[Oddity] = field(default_factory=Counter)
    _examples: dict[Oddity, str] = field(default_factory=dict)
    _items: int = 0
    _only_name: str | None = None

    def add(self, item: Item | RefusedItem) -> None:
        """Look at an item of the source."""
        name, path, collection = item.about.name, item.source_name, item.about.collection
        if raw := undecoded_bytes(name) or undecoded_bytes(path):
            self._found(Oddity.ENCODING, f"{path}{_readings_text(raw)}")
        elif _LOST.search(name):
            self._found(Oddity.LOST_LETTERS, path)
        elif before := twice_decoded(name):
            self._found(Oddity.TWICE_DECODED, f"{path}, which was {before!r}")
        if _BACKSLASH in path:
            self._found(Oddity.BACKSLASH, path)
        if _PICTURE_FILE.fullmatch(name):
            self._found(Oddity.FILE_AS_NAME, path)
        if collection and not is_path_name(collection):
            self._found(Oddity.COLLECTION, f"{collection!r} of {path}")
        if isinstance(item, Item):
            self._watch_names(name, path)
        elif item.ends_source:
            self._found(Oddity.CUT_SHORT, f"{path}: {item.detail}")
        elif item.reason == RefusalReason.BROKEN_ROW:
            self._found(Oddity.BROKEN_ROW, f"{path}: {item.detail}")

    def to_json(self) -> list[dict[str, Any]]:
        """``kind``, number of ``items``, ``meaning`` and first ``example`` of each kind."""
        counts, examples = dict(self._counts), dict(self._examples)
        if self._only_name and self._items > 1:
            counts[Oddity.ONE_NAME], examples[Oddity.ONE_NAME] = self._items, self._only_name
        return [
            {
                "kind": kind.value, "items": counts[kind], "meaning": MEANINGS[kind],
                "example": examples[kind],
            }
            for kind in Oddity if kind in counts
        ]

    def lines(self) -> list[str]:
        """The same as sentences."""
        return [
            f"Odd: {each['items']} {each['meaning']}, such as {escape_controls(each['example'])}."
            for each in self.to_json()
        ]

    def _found(self, kind: Oddity, example: str) -> None:
        self._counts[kind] += 1
        self._examples.setdefault(kind, example)

    def _watch_names(self, name: str, path: str) -> None:
        """Notice whether all items are named by one folder."""
        self._items += 1
        is_folder = path.split("/")[-2:-1] == [name]
        if self._items == 1 and is_folder:
            self._only_name = name
        elif name != self._only_name or not is_folder:
            self._only_name = None


def _readings_text(raw: bytes) -> str:
    found = "; ".join(f"--names {encoding} reads {text!r}" for encoding, text in readings(raw))
    return f" ({found})" if found else ""
