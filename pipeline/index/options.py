"""The options of a view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from pipeline.config.settings import Settings
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.hnsw import HnswParameters

PURGE_EARLY_SHARE = 0.5
"""Share of the purge time after which a view writes a snapshot without the deleted labels.
The rest of the time remains for another attempt."""

READING_SHARE = 0.5
"""Share of a core that reading a gallery takes while no search waits for it."""

LONGEST_WAIT_S = 10.0
"""Seconds that a search waits for its gallery to be read before it is put back."""

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """An index is rebuilt at ``garbage_share``. ``snapshot_changes`` is the least number of
    changes between two snapshots; no snapshot holds a deleted label after
    ``purge_after_s``; every ``canary_every``-th search is repeated exactly (0: none); the
    views of one process take about ``memory_bytes`` together (0: unlimited). Reading a
    gallery takes ``reading_share`` of a core while no search waits for it, and a search waits
    ``open_wait_s`` for it (0: until it is read)."""

    engine_choice: EngineChoice = field(default_factory=EngineChoice)
    garbage_share: float = 0.25
    snapshot_changes: int = 10_000
    purge_after_s: float = 3600.0
    canary_every: int = 1000
    memory_bytes: int = 0
    reading_share: float = 1.0
    open_wait_s: float = 0.0

    def purge_due(self, removed_at: float, now: float) -> bool:
        """Whether a label deleted at ``removed_at`` (0: none) must leave the snapshots now."""
        return removed_at > 0 and now - removed_at >= PURGE_EARLY_SHARE * self.purge_after_s

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        graph = HnswParameters(
            links=settings.hnsw_links,
            build_width=settings.hnsw_build_width,
            search_width=settings.hnsw_search_width,
            threads=settings.index_threads,
        )
        return cls(
            engine_choice=EngineChoice(
                engine=settings.index_engine,
                exact_limit=settings.index_exact_limit,
                short_list=settings.index_short_list,
                graph=graph,
            ),
            garbage_share=settings.index_garbage_share,
            snapshot_changes=settings.index_snapshot_changes,
            purge_after_s=settings.purge_after_s,
            canary_every=settings.index_canary_every,
            memory_bytes=settings.index_memory_mb * MB,
            reading_share=READING_SHARE,
            open_wait_s=min(LONGEST_WAIT_S, settings.job_time_limit_s / 2),
        )
