"""The interface through which a search reaches a gallery, whatever holds its vectors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pipeline.index.base import Hit
from pipeline.types import Embedding


class Views(Protocol):
    """Views of tenants' galleries. Thread-safe; every method may raise ``DatabaseUnavailable``
    and ``MediaUnavailable``."""

    def search(
        self, tenant_id: int, probe: Embedding, k: int,
        collections: Collection[int] | None, at_least: int,
    ) -> list[Hit]:
        """The best ``k`` labels, best first, only in one of ``collections`` where these are
        given. ``probe`` has unit length.

        The search sees every change committed before the call. Raises ``BadVector``, and
        ``IndexBehind`` when the gallery does not have the change ``at_least`` yet, or the view
        cannot follow now.
        """

    def keep(self, tenants: Sequence[int]) -> None:
        """Run one round of upkeep: keep the views of ``tenants``, forget those of all others. A
        failure for one tenant does not stop the others."""

    def forget(self, tenant_id: int) -> None:
        """Forget a tenant's view and its state."""
