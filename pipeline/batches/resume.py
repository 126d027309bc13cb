"""Which items of a source were met before, as it is read once more."""

from __future__ import annotations

from collections import Counter

from pipeline.batches.model import Batch, KnownItem
from pipeline.batches.reader import BatchReader
from pipeline.sources.base import Item, RefusalReason, RefusedItem
from pipeline.sources.names import NameSet

WINDOW_ITEMS = 2000  # marks read at a time

# What may be said of several members of one name.
REPEATABLE_REASONS = frozenset(
    {
        RefusalReason.DUPLICATE_NAME,
        RefusalReason.UNSAFE_NAME,
        RefusalReason.BOMB,
        RefusalReason.TOO_MANY,
        RefusalReason.ARCHIVE_DAMAGED,
    }
)


class ItemNames:
    """What items are known by: the name, which no other item of the source has, but for
    some refusals, which are counted."""

    def __init__(self) -> None:
        self._once = NameSet()
        self._more: Counter[str] = Counter()

    def name_of(self, item: Item | RefusedItem) -> str:
        """The same whenever the source is read from its beginning."""
        if isinstance(item, Item) or item.reason not in REPEATABLE_REASONS:
            return item.source_name
        said = f"{item.source_name}\0{item.reason}"
        if not self._once.add(said):
            self._more[said] += 1
        return f"{said}\0{self._more[said]}"


class SeenItems:
    """Looks items up by their names in the order in which they were met: one query for
    many of them as long as the source is what it was, one for each where it is not, and
    none any more once all have been met again. Memory does not grow."""

    def __init__(self, batches: BatchReader, batch: Batch) -> None:
        self._batches = batches
        self._batch = batch
        self._window: dict[bytes, KnownItem] = {}
        self._read_to = 0  # the number up to which windows were read
        self._left = batch.items

    def find(self, name: str) -> KnownItem | None:
        """The item of this name, if it is one that was met before this run."""
        if not self._left:
            return None
        mark = self._batches.name_hash(self._batch, name)
        if not self._window:
            self._read_on(self._read_to)
        known = self._window.pop(mark, None)
        if known is None:
            known = self._batches.known_items(self._batch, [name]).get(name)
            if known is None or known.number > self._batch.items:
                return None
            self._read_on(known.number)
        self._left -= 1
        return known

    def _read_on(self, after: int) -> None:
        window = self._batches.name_hashes_after(self._batch, after, WINDOW_ITEMS)
        self._window = dict(window)
        self._read_to = window[-1][1].number if window else after
