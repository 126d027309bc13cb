"""Whether an index holds what the gallery holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.index.rows import Rows
from pipeline.types import Entry


@dataclass(frozen=True, slots=True)
class Difference:
    """Labels that only the gallery has, that only the index has, and that both have with
    another vector or in other collections; each in rising order."""

    missing: tuple[int, ...] = ()
    surplus: tuple[int, ...] = ()
    altered: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus or self.altered)


def difference(rows: Rows, entries: Iterable[Entry]) -> Difference:
    """Compare ``rows`` with every entry of the gallery. Collections that were deleted
    since do not count: no search asks for them."""
    held = set(rows.labels().tolist())
    missing, altered = [], []
    for entry in entries:
        if entry.label not in held:
            missing.append(entry.label)
            continue
        held.discard(entry.label)
        if not rows.holds(entry):
            altered.append(entry.label)
    return Difference(tuple(missing), tuple(sorted(held)), tuple(altered))
