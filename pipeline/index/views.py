"""The views of all tenants that one index process holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.errors import FaceError, TenantNotFound
from pipeline.index.base import ChangeSource, Hit
from pipeline.index.options import ViewOptions
from pipeline.index.view import TenantView
from pipeline.media.base import MediaStore
from pipeline.types import Embedding

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """Where a tenant's view is, or will be once somebody has opened it."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    view: TenantView | None = None


class Views:
    """Opens a tenant's view at its first use and keeps it; thread-safe.

    Two tenants do not wait for each other. Everything may raise
    ``DatabaseUnavailable`` and ``MediaUnavailable``.
    """

    def __init__(
        self, source: ChangeSource, store: MediaStore, options: ViewOptions | None = None
    ) -> None:
        self._source = source
        self._store = store
        self._options = options or ViewOptions()
        self._places: dict[int, _Place] = {}
        self._lock = threading.Lock()

    @property
    def source(self) -> ChangeSource:
        return self._source

    def view(self, tenant_id: int) -> TenantView:
        """The tenant's view; the first call reads it in and may take seconds."""
        with self._lock:
            place = self._places.setdefault(tenant_id, _Place())
        with place.opening:
            if place.view is None:
                view = TenantView(tenant_id, self._source, self._store, self._options)
                view.open()
                place.view = view
        return place.view

    def search(
        self, tenant_id: int, probe: Embedding, k: int,
        collections: Collection[int] | None, at_least: int,
    ) -> list[Hit]:
        """The best ``k`` labels in one of ``collections``, where these are given.

        Whatever was committed before the call is seen: the gallery's own number is
        asked for. Raises ``IndexBehind`` when the gallery itself does not know the
        change ``at_least`` yet.
        """
        seen = max(at_least, self._source.latest(tenant_id))
        view = self.view(tenant_id)
        return view.search(probe[None, :], k, collections, seen)[0]

    def keep(self, tenants: Sequence[int]) -> None:
        """One round of what is not urgent: open the views of ``tenants``, follow their
        logs, write and purge snapshots, and let go of tenants that are not named. A
        tenant whose round fails does not keep the others waiting."""
        for tenant_id in set(self._places).difference(tenants):
            self.forget(tenant_id)
        for tenant_id in tenants:
            try:
                self.view(tenant_id).maintain()
            except TenantNotFound:
                self.forget(tenant_id)
            except FaceError as error:
                LOG.warning(
                    "The index of a tenant waits: %s", error,
                    extra={"action": "index_waits", "tenant": tenant_id, "code": error.code},
                )

    def forget(self, tenant_id: int) -> None:
        """Let go of a tenant's view."""
        with self._lock:
            self._places.pop(tenant_id, None)
