"""The views of an index process: in its memory, or in a vector engine for who is served by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.index.base import Hit
from pipeline.index.engine_views import EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.types import Embedding


@dataclass(frozen=True, slots=True)
class ChosenViews:
    """``Views`` that ask for each search which serves the tenant now."""

    local: LocalViews
    outside: EngineViews

    def search(
        self, tenant_id: int, probe: Embedding, k: int,
        collections: Collection[int] | None, at_least: int,
    ) -> list[Hit]:
        """As ``Views.search``."""
        space = self.outside.spaces.serving(tenant_id)
        if space is None:
            return self.local.search(tenant_id, probe, k, collections, at_least)
        return self.outside.search_in(space, probe, k, collections, at_least)

    def keep(self, tenants: Sequence[int]) -> None:
        """Keep in memory who is not served by the engine. Its follower runs by itself
        (``EngineViews.keep``), because it has to come more often."""
        served = self.outside.spaces.all_serving()
        self.local.keep([tenant for tenant in tenants if tenant not in served])

    def forget(self, tenant_id: int) -> None:
        """Forget the views of a tenant in both."""
        self.local.forget(tenant_id)
        self.outside.forget(tenant_id)
