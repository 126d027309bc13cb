"""The views of all tenants in the memory of one index process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pipeline.errors import FaceError, IndexBehind, TenantNotFound
from pipeline.index.base import ChangeSource, Hit
from pipeline.index.options import ViewOptions
from pipeline.index.pace import Pace
from pipeline.index.tenant_view import TenantView
from pipeline.media.base import MediaStore
from pipeline.types import Embedding

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _TenantSlot:
    """The slot of one tenant's view, open or not. ``pace`` is that of the reading in
    progress, ``awaited`` the view that searches wait for.

    ``used`` is the time of the last search. After an eviction ``seen`` is the last number
    that the view had applied, and ``removed_at`` is since when a snapshot may hold a deleted
    label; both are unset before the first view.
    """

    opening: threading.Lock = field(default_factory=threading.Lock)
    awaited: Future[TenantView] | None = None
    pace: Pace | None = None
    view: TenantView | None = None
    used: float = 0.0
    seen: int = -1
    removed_at: float = 0.0


class LocalViews:
    """``Views`` in memory: opens a tenant's view at its first use and keeps all within the memory
    limit; thread-safe.

    Tenants do not wait for each other. The next search opens an evicted view again, with
    the same results. Every method may raise ``DatabaseUnavailable`` and
    ``MediaUnavailable``.
    """

    def __init__(
        self, source: ChangeSource, store: MediaStore, options: ViewOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._store = store
        self._options = options or ViewOptions()
        self._clock = clock
        self._slots: dict[int, _TenantSlot] = {}
        self._lock = threading.Lock()
        self.maintained_at = 0.0
        """When the last round ended (epoch seconds); 0 before the first."""

    @property
    def nbytes(self) -> int:
        """Approximate memory of all views in bytes."""
        return sum(view.nbytes for view in self.in_memory)

    @property
    def in_memory(self) -> list[TenantView]:
        """The views in memory."""
        with self._lock:
            return [slot.view for slot in self._slots.values() if slot.view]

    @property
    def held(self) -> set[int]:
        """The tenants whose views are in memory."""
        with self._lock:
            return {tenant for tenant, slot in self._slots.items() if slot.view}

    def applied(self, tenant_id: int) -> int | None:
        """The last change that the tenant's view has applied; None when it is not in memory."""
        with self._lock:
            slot = self._slots.get(tenant_id)
            return None if slot is None or slot.view is None else slot.view.applied

    def view(self, tenant_id: int) -> TenantView:
        """The tenant's view; the first call loads it and may take seconds."""
        slot = self._slot(tenant_id)
        with slot.opening:
            view = slot.view
            if view is None:
                slot.pace = Pace(self._options.reading_share)
                if slot.awaited is not None:
                    slot.pace.hurry()
                view = TenantView(
                    tenant_id, self._source, self._store, self._options, self._clock, slot.pace
                )
                view.open(slot.removed_at)
                slot.view = view
        return view

    def now(self) -> float:
        """Epoch seconds by the clock of the views."""
        return self._clock()

    def search(
        self, tenant_id: int, probe: Embedding, k: int,
        collections: Collection[int] | None, at_least: int,
    ) -> list[Hit]:
        """The best ``k`` labels, only in one of ``collections`` where these are given.

        The search sees every change committed before the call, because it asks for the
        gallery's current number. Raises ``IndexBehind`` when the gallery does not have the
        change ``at_least`` yet, or is still being read.
        """
        seen = max(at_least, self._source.latest(tenant_id))
        slot = self._slot(tenant_id)
        opens, slot.used = slot.view is None, self._clock()
        view = self._awaited_view(tenant_id, slot)
        found = view.search(probe[None, :], k, collections, seen)[0]
        if opens:
            self._evict_to_limit()
        return found

    def _awaited_view(self, tenant_id: int, slot: _TenantSlot) -> TenantView:
        """The tenant's view, which is opened without regard to others that are being read.
        Raises ``IndexBehind`` when that takes longer than a search may."""
        wait_s = self._options.open_wait_s
        if slot.view is not None or not wait_s:
            return self.view(tenant_id)
        with self._lock:
            awaited = slot.awaited
            if awaited is None:
                awaited = slot.awaited = Future()
                threading.Thread(
                    target=self._open, args=(tenant_id, slot, awaited), name="open_view",
                    daemon=True,
                ).start()
        if slot.pace is not None:
            slot.pace.hurry()
        try:
            return awaited.result(wait_s)
        except TimeoutError:
            raise IndexBehind("The gallery is still being read.") from None

    def _open(self, tenant_id: int, slot: _TenantSlot, awaited: Future[TenantView]) -> None:
        try:
            view = self.view(tenant_id)
        except BaseException as error:  # noqa: BLE001  # the searches raise it
            slot.awaited = None
            awaited.set_exception(error)
        else:
            slot.awaited = None
            awaited.set_result(view)

    def keep(self, tenants: Sequence[int]) -> None:
        """Run one round of upkeep: open the views of ``tenants`` within the memory limit,
        follow their logs, write and purge snapshots, and forget all other tenants. A failure
        for one tenant does not stop the others."""
        for tenant_id in set(self._slots).difference(tenants):
            self.forget(tenant_id)
        for tenant_id in tenants:
            try:
                self._maintain_tenant(tenant_id)
            except TenantNotFound:
                self.forget(tenant_id)
            except FaceError as error:
                LOG.warning(
                    "The index of a tenant could not be maintained: %s", error,
                    extra={
                        "action": "index_maintenance_failed",
                        "tenant": tenant_id,
                        "code": error.code,
                    },
                )
        self._evict_to_limit()  # every view may have grown
        self.maintained_at = self._clock()

    def forget(self, tenant_id: int) -> None:
        """Forget a tenant's view and its state."""
        with self._lock:
            self._slots.pop(tenant_id, None)

    def _slot(self, tenant_id: int) -> _TenantSlot:
        with self._lock:
            return self._slots.setdefault(tenant_id, _TenantSlot())

    def _maintain_tenant(self, tenant_id: int) -> None:
        """Maintain one tenant."""
        slot = self._slot(tenant_id)
        if slot.view is not None:
            slot.view.maintain()
        elif self._wants_view(tenant_id, slot):
            self.view(tenant_id).maintain()
            self._evict_to_limit()

    def _wants_view(self, tenant_id: int, slot: _TenantSlot) -> bool:
        """Whether a round opens a view: at first while there is room, later when snapshots
        must be written or purged."""
        limit = self._options.memory_bytes
        if limit == 0 or (slot.seen < 0 and self.nbytes < limit):
            return True
        if slot.seen < 0:
            # The state of another process, which may have left work undone.
            records = self._source.snapshots(tenant_id)
            slot.seen = records[0].number if records else 0
            slot.removed_at = self._clock()
        latest = self._source.latest(tenant_id)
        if latest != slot.seen and not slot.removed_at:
            slot.removed_at = self._clock()  # the change may be a deletion
        grown = latest - slot.seen > self._options.snapshot_changes
        return grown or self._options.purge_due(slot.removed_at, self._clock())

    def _evict_to_limit(self) -> None:
        """Evict the least recently searched views while the total exceeds the limit. The
        most recently searched view always stays."""
        limit = self._options.memory_bytes
        if not limit:
            return
        with self._lock:
            held = {
                tenant: slot.view for tenant, slot in self._slots.items() if slot.view
            }
            taken = sum(view.nbytes for view in held.values())
            last = max((slot.used for slot in self._slots.values()), default=0.0)
            for tenant in sorted(held, key=lambda tenant: self._slots[tenant].used):
                if taken <= limit or 0 < last == self._slots[tenant].used:
                    return
                taken -= held[tenant].nbytes
                self._evict(tenant, held[tenant])

    def _evict(self, tenant_id: int, view: TenantView) -> None:
        slot = self._slots[tenant_id]
        slot.seen, slot.removed_at, slot.view = view.applied, view.removed_at, None
        LOG.info(
            "The index of a tenant was evicted to free memory",
            extra={"action": "index_evicted", "tenant": tenant_id, "bytes": view.nbytes},
        )
