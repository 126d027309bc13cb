"""One tenant's gallery in memory, as of a number of its change log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from pipeline.errors import BadVector, IndexBehind
from pipeline.index.base import ChangeSource, Hit, Labels, Vectors
from pipeline.index.canary import RecallCanary
from pipeline.index.flat import FlatIndex
from pipeline.index.lock import ReadersWriterLock
from pipeline.index.options import ViewOptions
from pipeline.index.snapshots import (
    ORPHAN_AGE_S,
    copy_index,
    delete_orphans,
    discard_snapshots,
    holds_deleted,
    load_newest,
    write_snapshot,
)
from pipeline.index.vector_rows import VectorRows, check_vectors
from pipeline.index.verify import IndexDifference, compare_with_gallery
from pipeline.media.base import MediaStore
from pipeline.types import IndexEntry, SnapshotRecord, VectorModel

LOG = logging.getLogger(__name__)

BATCH_SIZE = 2000  # changes or entries taken in at once: 4 MB of vectors
SNAPSHOTS_KEPT = 2  # the newest, and one to fall back to
GROWTH_BETWEEN_SNAPSHOTS = 0.1
"""Changes since the last snapshot, as a share of the labels, before there is another: a
large gallery is not written anew for every few thousand faces."""


class TenantView:
    """Searches of one tenant, over an index that follows the gallery.

    Any number of threads may search; changes are applied by one at a time, without
    searches beside it. Everything may raise ``DatabaseUnavailable`` and
    ``MediaUnavailable``; what is in memory stays usable then.
    """

    def __init__(
        self,
        tenant_id: int,
        source: ChangeSource,
        store: MediaStore,
        options: ViewOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tenant_id = tenant_id
        self._source = source
        self._store = store
        self._options = options or ViewOptions()
        self._clock = clock
        self._lock = ReadersWriterLock()
        self._changing = threading.RLock()
        self._index: FlatIndex | None = None
        self._model: VectorModel | None = None
        self._applied = 0
        # The last change that took a label away, and when we heard of it.
        self._removal = 0
        self._removed_at = 0.0
        self._swept_at = 0.0
        self.canary = RecallCanary(self._options.canary_every)

    @property
    def applied(self) -> int:
        """The number of the last change that searches see."""
        return self._applied

    @property
    def engine(self) -> str:
        """The engine that searches; empty while nothing is enrolled."""
        return self._index.engine if self._index is not None else ""

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return self._index.nbytes if self._index is not None else 0

    @property
    def removed_at(self) -> float:
        """Since when there may be snapshots with a deleted label; 0: there are none."""
        return self._removed_at

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else 0

    def labels(self) -> Labels:
        """All labels, in rising order."""
        with self._lock.reading():
            return self._index.labels() if self._index is not None else np.empty(0, np.int64)

    # Searching -----------------------------------------------------------------

    def search(
        self,
        probes: Vectors,
        k: int,
        collections: Collection[int] | None = None,
        at_least: int = 0,
    ) -> list[list[Hit]]:
        """For each probe (rows of unit length) the best ``k`` labels, best first, after
        the change ``at_least`` was applied; only labels in one of ``collections``, where
        these are given.

        Raises ``BadVector``, and ``IndexBehind`` when the gallery itself does not know
        that change yet.
        """
        if self._applied < at_least and self.catch_up() < at_least:
            raise IndexBehind
        with self._lock.reading():
            if self._index is None:
                return [[] for _ in probes]
            found = self._index.search(probes, k, collections)
            self.canary.observe(self._index, probes, collections, found)
        return found

    # Following -----------------------------------------------------------------

    def open(self, removed_at: float = 0.0) -> int:
        """Read the newest usable snapshot, or else the gallery, then what has changed
        since; the number that searches see. ``removed_at`` is that of an earlier view."""
        with self._changing:
            self._removed_at = removed_at
            self._exchange(*(self._restored() or self._read_gallery()))
            return self.catch_up()

    def catch_up(self) -> int:
        """Apply what has changed; the number that searches see."""
        with self._changing:
            while changes := self._source.changed(self._tenant_id, self._applied, BATCH_SIZE):
                if changes[0][0] != self._applied + 1:
                    return self._start_over()
                if not self._apply(changes):
                    return self._start_over()
            latest = self._source.latest(self._tenant_id)
            return self._applied if self._applied == latest else self._follow_gap()

    def rebuild(self) -> int:
        """Read the whole gallery, whatever snapshots there are."""
        with self._changing:
            self._exchange(*self._read_gallery())
            return self.catch_up()

    def verify(self) -> IndexDifference:
        """How the index differs from the gallery, label by label and bit by bit; while
        the gallery changes, what changes is told too."""
        with self._changing:
            self.catch_up()
            rows = self._index.rows if self._index is not None else VectorRows(0)
            return compare_with_gallery(rows, self._source.all_entries(self._tenant_id))

    def _exchange(
        self, index: FlatIndex | None, model: VectorModel | None, number: int
    ) -> None:
        with self._lock.writing():
            self._index, self._model, self._applied = index, model, number

    def _follow_gap(self) -> int:
        """The log did not end with the gallery's number: a change came in between, or
        the log was cut off behind us, or the database is an older one put back."""
        if self._source.changed(self._tenant_id, self._applied, 1):
            return self.catch_up()
        return self._start_over()

    def _start_over(self) -> int:
        LOG.warning(
            "The change log does not reach back to the index, which is read anew.",
            extra={"action": "index_reread", "tenant": self._tenant_id,
                   "applied": self._applied},
        )
        return self.rebuild()

    def _restored(self) -> tuple[FlatIndex, VectorModel, int] | None:
        model = self._source.vector_model(self._tenant_id)
        if model is None:
            return None
        choice = self._options.engine_choice
        found = load_newest(self._source, self._store, self._tenant_id, model, choice)
        if found is None:
            return None
        index, record = found
        index.rows.reserve()
        # A process that died before it discarded what it replaced may have left older
        # ones, and what was deleted before this one is not in the log that we read.
        self._note_removal(record.number)
        if index.engine != choice.engine_for(len(index), index.engine):
            index = choice.build(index.rows)
        return index, model, record.number

    def _read_gallery(self) -> tuple[FlatIndex | None, VectorModel | None, int]:
        number = self._source.latest(self._tenant_id)
        model = self._source.vector_model(self._tenant_id)
        # Recorded snapshots that were not used may hold what is deleted by now.
        self._note_removal(number)
        if model is None:
            return None, None, number
        rows = VectorRows(model.dimension)
        entries = self._source.all_entries(self._tenant_id)
        while portion := list(islice(entries, BATCH_SIZE)):
            self._make_slots(rows, portion)
            rows.upsert(self._usable(portion, model))
        return self._options.engine_choice.build(rows), model, number

    def _apply(self, changes: Sequence[tuple[int, int]]) -> bool:
        """Take in a portion of the log; False when the vectors are another model's."""
        labels = {label for _, label in changes}
        entries = self._source.entries(self._tenant_id, sorted(labels))
        gone = labels - {entry.label for entry in entries}
        if entries and not self._same_model():
            return False
        with self._lock.writing():
            if self._index is not None:
                before = len(self._index)
                self._index.remove(gone)
                if len(self._index) < before:
                    self._note_removal(changes[-1][0])
                self._take(self._index, entries)
            self._applied = changes[-1][0]
            self._fit()
        return True

    def _same_model(self) -> bool:
        """Whether the gallery's vectors are of our model, which the first ones bring."""
        model = self._source.vector_model(self._tenant_id)
        if self._index is None and model is not None:
            self._model = model
            self._index = self._options.engine_choice.build(VectorRows(model.dimension))
        return model is None or model == self._model

    def _take(self, index: FlatIndex, entries: Sequence[IndexEntry]) -> None:
        self._make_slots(index.rows, entries)
        index.upsert(self._usable(entries, self._model))

    def _make_slots(self, rows: VectorRows, entries: Sequence[IndexEntry]) -> None:
        if len(rows.new_collections(entries)) > rows.free_slots:
            rows.release_other_collections(self._source.live_collections(self._tenant_id))

    def _usable(self, entries: Sequence[IndexEntry], model: VectorModel | None) -> list[IndexEntry]:
        """The entries that an index takes. Others cannot be in the gallery, which checks
        too; one that is must not keep all others from being found."""
        good = list(_good(entries, model.dimension if model else 0))
        if len(good) < len(entries):
            LOG.error(
                "The gallery holds vectors that cannot be searched.",
                extra={"action": "index_refused", "tenant": self._tenant_id,
                       "count": len(entries) - len(good)},
            )
        return good

    def _note_removal(self, number: int) -> None:
        if not self._removed_at:
            self._removed_at = self._clock()
        self._removal = max(self._removal, number)

    # Keeping -------------------------------------------------------------------

    def maintain(self) -> None:
        """What may take long and is not urgent: a fresh build of an index with much
        garbage, snapshots, their purge, and what dead writers left. Searches go on, but
        for the moments in which the index is copied or exchanged."""
        self.catch_up()
        if self._index is not None and self._index.garbage_share > self._options.garbage_share:
            self.compact()
        records = self._source.snapshots(self._tenant_id)
        if self._purge_due():
            self._purge(records)
        elif self._snapshot_due(records):
            self.snapshot()
        if self._clock() - self._swept_at >= ORPHAN_AGE_S:
            delete_orphans(self._source, self._store, self._tenant_id, self._clock())
            self._swept_at = self._clock()

    def compact(self) -> None:
        """Build the index anew, without what was deleted."""
        with self._changing:
            if self._index is None:
                return
            with self._lock.reading():
                rows = self._index.rows.compacted()
            fresh = self._options.engine_choice.build(rows, self._index.engine)
            with self._lock.writing():
                self._index = fresh

    def snapshot(self) -> SnapshotRecord | None:
        """Write a snapshot, record it, and discard those that it replaces; None while
        nothing is enrolled."""
        with self._changing:
            if self._index is None or self._model is None:
                self._discard(self._source.snapshots(self._tenant_id))
                return None
            if self._index.retains_deleted:
                self.compact()
            with self._lock.reading():
                frozen = copy_index(self._index, self._applied)
            model, removal = self._model, self._removal
        written = write_snapshot(frozen, model, self._tenant_id, self._store, self._clock())
        recorded = self._source.record_snapshot(written)
        records = self._source.snapshots(self._tenant_id)
        self._discard([
            record
            for place, record in enumerate(records)
            if record.id != recorded.id
            and (place >= SNAPSHOTS_KEPT or record.number < removal)
        ])
        return recorded

    def _discard(self, records: Sequence[SnapshotRecord]) -> None:
        discard_snapshots(records, self._source, self._store)

    def _snapshot_due(self, records: Sequence[SnapshotRecord]) -> bool:
        since = self._applied - (records[0].number if records else 0)
        return since > max(
            self._options.snapshot_changes, GROWTH_BETWEEN_SNAPSHOTS * len(self)
        )

    def _purge_due(self) -> bool:
        """Whether a recorded snapshot may have held a deleted label for long enough."""
        return self._options.purge_due(self._removed_at, self._clock())

    def _purge(self, records: Sequence[SnapshotRecord]) -> None:
        """Take the deleted out of the snapshots."""
        removal = self._removal
        stale = [
            record
            for record in records
            if record.number < removal and holds_deleted(record, self._source)
        ]
        if stale and stale[0] == records[0]:
            self.snapshot()
        else:
            self._discard(stale)
        if self._removal == removal:
            self._removed_at = 0.0

    def _fit(self) -> None:
        """Change the engine when the gallery has outgrown it."""
        index = self._index
        if index is not None:
            wanted = self._options.engine_choice.engine_for(len(index), index.engine)
            if wanted != index.engine:
                self._index = self._options.engine_choice.build(index.rows, index.engine)


def _good(entries: Sequence[IndexEntry], dimension: int) -> Iterator[IndexEntry]:
    try:
        check_vectors([entry.vector for entry in entries], dimension)
    except BadVector:
        for entry in entries:
            try:
                check_vectors([entry.vector], dimension)
            except BadVector:
                continue
            yield entry
    else:
        yield from entries
