"""Chooses the engine of a gallery by its size and the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from pipeline.errors import SnapshotUnusable
from pipeline.index.codes import SHORT_LIST, CodesIndex
from pipeline.index.flat import FlatIndex
from pipeline.index.hnsw import HnswIndex, HnswParameters
from pipeline.index.vector_rows import Arrays, VectorRows

Engine = Literal["flat", "codes", "hnsw"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

SHRINK_HYSTERESIS = 0.5
"""Share of the limit below which a gallery returns to exact search. A gallery near the limit
does not switch engines with every face."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine by name, or ``auto``: exact up to ``exact_limit`` labels, codes above."""

    engine: Engine | Literal["auto"] = "auto"
    exact_limit: int = 20_000
    short_list: int = SHORT_LIST
    graph: HnswParameters = field(default_factory=HnswParameters)

    def engine_for(self, count: int, present: str = "") -> Engine:
        """The engine for ``count`` labels; ``present`` is the current engine."""
        if self.engine != "auto":
            return self.engine
        limit = self.exact_limit * (SHRINK_HYSTERESIS if present == CodesIndex.engine else 1)
        return "flat" if count <= limit else "codes"

    def build(self, rows: VectorRows, present: str = "") -> FlatIndex:
        """An index over ``rows``, which it takes over."""
        match self.engine_for(len(rows), present):
            case "flat":
                return FlatIndex(rows)
            case "codes":
                return CodesIndex(rows, self.short_list)
            case "hnsw":
                return HnswIndex(rows, self.graph)

    def restore(self, engine: str, arrays: Arrays) -> FlatIndex:
        """The index of a snapshot's ``arrays``, with the engine that wrote them.

        Raises ``SnapshotUnusable``, and ``ConfigurationError`` when hnswlib is missing.
        """
        try:
            match engine:
                case "flat":
                    return FlatIndex(VectorRows.from_arrays(arrays))
                case "codes":
                    return CodesIndex.from_arrays(arrays, self.short_list)
                case "hnsw":
                    return HnswIndex.from_arrays(arrays, self.graph)
        except KeyError as error:
            raise SnapshotUnusable(f"The snapshot has no array {error}.") from error
        raise SnapshotUnusable(f"The snapshot has the unknown engine {engine!r}.")
