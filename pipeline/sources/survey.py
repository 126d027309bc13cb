"""What would be enrolled of a source, and what not: nothing is stored or decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.media.header import PictureLimits
from pipeline.sources.base import About, Refusal, Source
from pipeline.sources.names import Seen
from pipeline.sources.taking import Taken, take


class Verdict(StrEnum):
    """What would become of an item."""

    ENROL = "enrol"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Finding:
    """One item: ``number`` counts from 1 in the source's order. ``original`` is the number
    of the item that has the same bytes, 0 for none; ``size`` is in bytes."""

    number: int
    source_name: str
    verdict: Verdict
    about: About
    reason: str = ""
    detail: str = ""
    original: int = 0
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class Tally:
    """Counts over the findings so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    collections: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    people: Seen = field(default_factory=Seen)

    @property
    def items(self) -> int:
        return self.verdicts.total()

    def add(self, finding: Finding) -> None:
        self.verdicts[finding.verdict] += 1
        if finding.verdict is Verdict.REJECTED:
            self.reasons[finding.reason] += 1
        if finding.verdict is Verdict.ENROL:
            self.bytes += finding.size
            self.collections[finding.about.collection] += 1
            if finding.about.name:
                self.people.add(finding.about.name)


def survey(source: Source, limits: PictureLimits, collection: str = "") -> Iterator[Finding]:
    """A finding for every item of ``source``, in its order. ``collection`` stands where
    the source names none. Keeps 16 bytes of each picture's hash, nothing of the picture."""
    first: dict[bytes, int] = {}
    for number, item in enumerate(source.items(), 1):
        about = item.about
        if not about.collection:
            about = replace(about, collection=collection)
        result = item if isinstance(item, Refusal) else take(item, limits)
        if isinstance(result, Refusal):
            yield Finding(
                number, result.source_name, Verdict.REJECTED, about,
                reason=str(result.reason), detail=result.detail,
            )
        else:
            key = bytes.fromhex(result.sha256)[:16]
            original = first.setdefault(key, number)
            yield _found(number, result, about, 0 if original == number else original)


def _found(number: int, taken: Taken, about: About, original: int) -> Finding:
    width, height = taken.header.upright_size
    return Finding(
        number, taken.source_name, Verdict.DUPLICATE if original else Verdict.ENROL, about,
        reason="same_picture" if original else "", original=original, sha256=taken.sha256,
        size=len(taken.data), width=width, height=height,
    )
