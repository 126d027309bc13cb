"""What would be enrolled of a source, and what not: nothing is stored or decoded."""

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
    """What would become of an item."""

    ENROL = "enrol"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DryRunItem:
    """One item: ``last_change`` counts from 1 in the source's order. ``original`` is the number
    of the item that has the same bytes, 0 for none; ``size`` is in bytes."""

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
    """Counts over the findings so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    collections: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    names: NameSet = field(default_factory=NameSet)

    @property
    def items(self) -> int:
        return self.outcomes.total()

    def add(self, finding: DryRunItem) -> None:
        self.outcomes[finding.outcome] += 1
        if finding.outcome is ExpectedOutcome.REJECTED:
            self.reasons[finding.reason] += 1
        if finding.outcome is ExpectedOutcome.ENROL:
            self.bytes += finding.size
            self.collections[finding.about.collection] += 1
            if finding.about.name:
                self.names.add(finding.about.name)


def dry_run(
    source: PictureSource, limits: PictureLimits, collection: str = ""
) -> Iterator[DryRunItem]:
    """A finding for every item of ``source``, in its order. ``collection_from_row`` stands where
    the source names none. Keeps 16 bytes of each picture's hash, nothing of the picture."""
    first: dict[bytes, int] = {}
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
            key = bytes.fromhex(result.sha256)[:16]
            original = first.setdefault(key, number)
            yield _picture_item(number, result, about, 0 if original == number else original)


def _picture_item(number: int, taken: PictureItem, about: About, original: int) -> DryRunItem:
    width, height = taken.header.upright_size
    return DryRunItem(
        number,
        taken.source_name,
        ExpectedOutcome.DUPLICATE if original else ExpectedOutcome.ENROL,
        about,
        reason="same_picture" if original else "",
        original=original,
        sha256=taken.sha256,
        size=len(taken.data),
        width=width,
        height=height,
    )
