"""The views of all tenants that one index process holds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pipeline.errors import FaceError, TenantNotFound
from pipeline.index.base import ChangeSource, Hit
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.media.base import MediaStore
from pipeline.types import Embedding

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _TenantSlot:
    """Where a tenant's view is, or will be once somebody has opened it.

    ``used`` is when it was last searched in. Of a view that was let go ``picture`` is the
    last number it had seen, and ``removed_at`` since when a snapshot may hold what was
    deleted; a place in which none has been yet knows neither.
    """

    opening: threading.Lock = field(default_factory=threading.Lock)
    view: TenantView | None = None
    used: float = 0.0
    seen: int = -1
    removed_at: float = 0.0


class TenantViews:
    """Opens a tenant's view at its first use and keeps it while there is room;
    thread-safe.

    Two tenants do not wait for each other. A view that was let go is opened anew by the
    next search, which sees what any other would. Everything may raise
    ``DatabaseUnavailable`` and ``MediaUnavailable``.
    """

    def __init__(
        self, source: ChangeSource, store: MediaStore, options: ViewOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._store = store
        self._options = options or ViewOptions()
        self._clock = clock
        self._places: dict[int, _TenantSlot] = {}
        self._lock = threading.Lock()

    @property
    def source(self) -> ChangeSource:
        return self._source

    @property
    def nbytes(self) -> int:
        """About how much memory all views take."""
        with self._lock:
            return sum(place.view.nbytes for place in self._places.values() if place.view)

    @property
    def held(self) -> set[int]:
        """The tenants whose views are in memory."""
        with self._lock:
            return {tenant for tenant, place in self._places.items() if place.view}

    def view(self, tenant_id: int) -> TenantView:
        """The tenant's view; the first call reads it in and may take seconds."""
        place = self._place(tenant_id)
        with place.opening:
            view = place.view
            if view is None:
                view = TenantView(
                    tenant_id, self._source, self._store, self._options, self._clock
                )
                view.open(place.removed_at)
                place.view = view
        return view

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
        place = self._place(tenant_id)
        opens, place.used = place.view is None, self._clock()
        found = self.view(tenant_id).search(probe[None, :], k, collections, seen)[0]
        if opens:
            self._make_room()
        return found

    def maintain(self, tenants: Sequence[int]) -> None:
        """One round of what is not urgent: open the views of ``tenants``, as far as there
        is room, follow their logs, write and purge snapshots, and let go of tenants that
        are not named. A tenant whose round fails does not keep the others waiting."""
        for tenant_id in set(self._places).difference(tenants):
            self.drop(tenant_id)
        for tenant_id in tenants:
            try:
                self._look_after(tenant_id)
            except TenantNotFound:
                self.drop(tenant_id)
            except FaceError as error:
                LOG.warning(
                    "The index of a tenant waits: %s",
                    error,
                    extra={
                        "action": "index_maintenance_failed",
                        "tenant": tenant_id,
                        "code": error.code,
                    },
                )
        self._make_room()  # all may have grown

    def drop(self, tenant_id: int) -> None:
        """Let go of a tenant's view for good."""
        with self._lock:
            self._places.pop(tenant_id, None)

    def _place(self, tenant_id: int) -> _TenantSlot:
        with self._lock:
            return self._places.setdefault(tenant_id, _TenantSlot())

    def _look_after(self, tenant_id: int) -> None:
        """A tenant's part of a round."""
        place = self._place(tenant_id)
        if place.view is not None:
            place.view.maintain()
        elif self._wants_view(tenant_id, place):
            self.view(tenant_id).maintain()
            self._make_room()

    def _wants_view(self, tenant_id: int, place: _TenantSlot) -> bool:
        """Whether a round opens a view: for the first time while there is room, then when
        its snapshots are to be written or purged."""
        most = self._options.memory_bytes
        if most == 0 or (place.seen < 0 and self.nbytes < most):
            return True
        if place.seen < 0:
            # What another process has seen, and may have left undone.
            records = self._source.snapshots(tenant_id)
            place.seen = records[0].number if records else 0
            place.removed_at = self._clock()
        latest = self._source.latest(tenant_id)
        if latest != place.seen and not place.removed_at:
            place.removed_at = self._clock()  # it may have been a deletion
        grown = latest - place.seen > self._options.snapshot_changes
        return grown or self._options.purge_due(place.removed_at, self._clock())

    def _make_room(self) -> None:
        """Let go of the views that were not searched for longest, while all together take
        too much; the one that was searched last stays, whatever it takes."""
        most = self._options.memory_bytes
        if not most:
            return
        with self._lock:
            held = {
                tenant: place.view for tenant, place in self._places.items() if place.view
            }
            taken = sum(view.nbytes for view in held.values())
            last = max((place.used for place in self._places.values()), default=0.0)
            for tenant in sorted(held, key=lambda tenant: self._places[tenant].used):
                if taken <= most or 0 < last == self._places[tenant].used:
                    return
                taken -= held[tenant].nbytes
                self._let_go(tenant, held[tenant])

    def _let_go(self, tenant_id: int, view: TenantView) -> None:
        place = self._places[tenant_id]
        place.seen, place.removed_at, place.view = view.applied, view.removed_at, None
        LOG.info(
            "The index of a tenant was let go to make room",
            extra={"action": "index_evicted", "tenant": tenant_id, "bytes": view.nbytes},
        )
