"""What a source would bring: which items would be enrolled. Nothing is stored or decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import About, PictureSource, RefusedItem
from pipeline.sources.inspect_item import PictureItem, inspect_item
from pipeline.sources.names import NameSet


class ExpectedOutcome(StrEnum):
    """The outcome that an item would have."""

    ENROL = "enrol"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DryRunItem:
    """One item. ``number`` counts from 1 in the source's order; ``original`` is the number
    of the item with the same bytes, 0 for none; ``size`` is in bytes."""

    number: int
    source_name: str
    outcome: ExpectedOutcome
    about: About
    reason: str = ""
    detail: str = ""
    original: int = 0
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class DryRunTotals:
    """Counts over the items so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    collections: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    names: NameSet = field(default_factory=NameSet)

    @property
    def items(self) -> int:
        return self.outcomes.total()

    def add(self, item: DryRunItem) -> None:
        self.outcomes[item.outcome] += 1
        if item.outcome is ExpectedOutcome.REJECTED:
            self.reasons[item.reason] += 1
        if item.outcome is ExpectedOutcome.ENROL:
            self.bytes += item.size
            self.collections[item.about.collection] += 1
            if item.about.name:
                self.names.add(item.about.name)


def dry_run(
    source: PictureSource, limits: PictureLimits, collection: str = ""
) -> Iterator[DryRunItem]:
    """The expected outcome of every item of ``source``, in its order. ``collection`` is used
    where the source names none. Keeps 16 bytes of each picture's hash in memory."""
    numbers: dict[bytes, int] = {}
    for number, item in enumerate(source.items(), 1):
        about = item.about
        if not about.collection:
            about = replace(about, collection=collection)
        result = item if isinstance(item, RefusedItem) else inspect_item(item, limits)
        if isinstance(result, RefusedItem):
            yield DryRunItem(
                number, result.source_name, ExpectedOutcome.REJECTED, about,
                reason=str(result.reason), detail=result.detail,
            )
        else:
            first = numbers.setdefault(bytes.fromhex(result.sha256)[:16], number)
            yield _picture_item(number, result, about, 0 if first == number else first)


def _picture_item(number: int, picture: PictureItem, about: About, original: int) -> DryRunItem:
    width, height = picture.header.upright_size
    outcome = ExpectedOutcome.DUPLICATE if original else ExpectedOutcome.ENROL
    return DryRunItem(
        number, picture.source_name, outcome, about,
        reason="same_picture" if original else "", original=original,
        sha256=picture.sha256, size=len(picture.data), width=width, height=height,
    )
