"""The settings of a view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from pipeline.config import Settings
from pipeline.index.choice import Choice
from pipeline.index.hnsw import GraphShape


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """``garbage_share`` of an index brings it to be built anew; ``snapshot_changes`` are
    the fewest between two snapshots; what was deleted is in no snapshot after
    ``purge_after_s``; every ``canary_every``-th search is repeated exactly (0: none)."""

    choice: Choice = field(default_factory=Choice)
    garbage_share: float = 0.25
    snapshot_changes: int = 10_000
    purge_after_s: float = 3600.0
    canary_every: int = 1000

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        graph = GraphShape(
            links=settings.hnsw_links,
            build_width=settings.hnsw_build_width,
            search_width=settings.hnsw_search_width,
            threads=settings.index_threads,
        )
        return cls(
            choice=Choice(
                engine=settings.index_engine,
                exact_limit=settings.index_exact_limit,
                short_list=settings.index_short_list,
                graph=graph,
            ),
            garbage_share=settings.index_garbage_share,
            snapshot_changes=settings.index_snapshot_changes,
            purge_after_s=settings.purge_after_s,
            canary_every=settings.index_canary_every,
        )
