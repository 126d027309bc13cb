"""The interface of an index outside of the process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.types import Embedding, IndexEntry


@dataclass(frozen=True, slots=True)
class Space:
    """The vectors of one tenant in an engine. A gallery that is read anew gets a new
    ``generation`` (hexadecimal digits), so that nothing of an earlier one is mixed with it."""

    tenant_id: int
    generation: str


class VectorEngine(Protocol):
    """An index outside of the process. It keeps labels, vectors and collections, and in each
    space its *head*: the number of the last change that all of its content has.

    What it finds are candidates: the caller compares them anew. Thread-safe. Every method
    raises ``IndexBehind`` when the engine does not answer, or has no such space.
    """

    name: str

    def describe(self) -> str:
        """Its name and version, found without any change. Raises also ``ConfigurationError``
        when it cannot serve."""

    def heads(self) -> dict[Space, int]:
        """Every space with its head."""

    def create(self, space: Space, dimension: int, number: int) -> None:
        """Make an empty space with the head ``number``."""

    def apply(
        self, space: Space, before: int, number: int, entries: Sequence[IndexEntry],
        gone: Collection[int],
    ) -> None:
        """Put ``entries`` in the place of those with their labels, remove the labels ``gone``,
        then move the head from ``before`` to ``number``. Raises ``IndexBehind`` without any
        change when the head is not ``before``."""

    def nearest(
        self, space: Space, probe: Embedding, k: int, collections: Collection[int] | None
    ) -> list[int]:
        """The labels of the ``k`` nearest vectors, those in one of ``collections`` where these
        are given."""

    def erase(self, space: Space) -> bool:
        """Remove what was replaced and removed from the engine's files; whether none is left."""

    def size(self, space: Space) -> int:
        """The bytes that a space takes in the engine."""

    def drop(self, space: Space) -> None:
        """Delete a space with its files, if it exists."""

    def close(self) -> None:
        """Close the connections."""
