"""A source whose reading is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.sources.base import Item, Refusal, Source


class WatchedSource:
    """A source that says how many of its items were ``passed`` on, and the name of the
    last one; ``before`` is told each item's collection when it comes the first time."""

    def __init__(self, source: Source, before: Callable[[str], None]) -> None:
        self._source = source
        self._before = before
        self._met: set[str] = set()
        self.passed = 0
        self.reading = ""

    @property
    def location(self) -> str:
        return self._source.location

    def position(self) -> tuple[int, int]:
        return self._source.position()

    def items(self) -> Iterator[Item | Refusal]:
        self.passed = 0
        for item in self._source.items():
            self.reading = item.source_name
            if item.about.collection not in self._met:
                self._met.add(item.about.collection)
                self._before(item.about.collection)
            yield item
            self.passed += 1
