"""Compares an index with its gallery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.index.vector_rows import VectorRows
from pipeline.types import IndexEntry


@dataclass(frozen=True, slots=True)
class IndexDifference:
    """Labels that only the gallery has, that only the index has, and that have another vector
    or other collections; each in rising order."""

    missing: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()
    altered: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.altered)


def compare_with_gallery(rows: VectorRows, entries: Iterable[IndexEntry]) -> IndexDifference:
    """Compares ``rows`` with every entry of the gallery. Deleted collections are ignored,
    because no search asks for them."""
    held = set(rows.labels().tolist())
    missing, altered = [], []
    for entry in entries:
        if entry.label not in held:
            missing.append(entry.label)
            continue
        held.discard(entry.label)
        if not rows.matches_entry(entry):
            altered.append(entry.label)
    return IndexDifference(tuple(missing), tuple(sorted(held)), tuple(altered))
