"""A source whose reading is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.sources.base import Item, PictureSource, RefusedItem


class TrackedSource:
    """A source that says how many of its items were ``items_read`` on, and the name of the
    last one; ``before`` is told each item's collection when it comes the first time."""

    def __init__(self, source: PictureSource, before: Callable[[str], None]) -> None:
        self._source = source
        self._before = before
        self._met: set[str] = set()
        self.items_read = 0
        self.current_name = ""

    @property
    def location(self) -> str:
        return self._source.location

    def position(self) -> tuple[int, int]:
        return self._source.position()

    def items(self) -> Iterator[Item | RefusedItem]:
        self.items_read = 0
        for item in self._source.items():
            self.current_name = item.source_name
            if item.about.collection not in self._met:
                self._met.add(item.about.collection)
                self._before(item.about.collection)
            yield item
            self.items_read += 1
