"""The gallery of one tenant in memory, as of one number of its change log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from itertools import islice

import numpy as np

from pipeline.errors import IndexBehind
from pipeline.index.base import ChangeSource, Hit, Labels, Vectors
from pipeline.index.canary import RecallCanary
from pipeline.index.flat import FlatIndex
from pipeline.index.lock import ReadersWriterLock
from pipeline.index.options import ViewOptions
from pipeline.index.pace import Pace
from pipeline.index.snapshots import (
    ORPHAN_AGE_S,
    copy_index,
    delete_orphans,
    discard_snapshots,
    holds_deleted,
    load_newest,
    write_snapshot,
)
from pipeline.index.vector_rows import VectorRows, valid_entries
from pipeline.index.verify import IndexDifference, compare_with_gallery
from pipeline.media.base import MediaStore
from pipeline.types import IndexEntry, SnapshotRecord, VectorModel

LOG = logging.getLogger(__name__)

BATCH_SIZE = 2000  # changes or entries that are applied at once: 4 MB of vectors
SNAPSHOTS_KEPT = 2  # the newest, and one to fall back to
GROWTH_BETWEEN_SNAPSHOTS = 0.1
"""Changes between two snapshots, as a share of the labels: a large gallery is not written
again for every few thousand faces."""


class TenantView:
    """Searches the gallery of one tenant over an index that follows its change log.

    Any number of threads may search; one thread at a time applies changes, without
    concurrent searches. Every method may raise ``DatabaseUnavailable`` and
    ``MediaUnavailable``; the index in memory stays usable.
    """

    def __init__(
        self, tenant_id: int, source: ChangeSource, store: MediaStore,
        options: ViewOptions | None = None, clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
    ) -> None:
        """``pace`` is that of reading the whole gallery."""
        self._pace = pace or Pace(1.0)
        self._tenant_id = tenant_id
        self._source = source
        self._store = store
        self._options = options or ViewOptions()
        self._clock = clock
        self._lock = ReadersWriterLock()
        self._changing = threading.RLock()
        self._index: FlatIndex | None = None
        self._model: VectorModel | None = None
        self.applied = 0
        """The number of the last applied change."""
        self._last_removal = 0  # the number of the last change that removed a label
        self.removed_at = 0.0
        """Since when snapshots may hold a deleted label; 0: none does."""
        self._orphans_checked_at = 0.0
        self.lag = 0
        """How many changes the last round had to apply."""
        self.snapshot_number = 0
        """The last change in the newest snapshot, as the last round found it; 0: there is none."""
        self.snapshot_at = 0.0
        """When that snapshot was written (epoch seconds)."""
        self.canary = RecallCanary(self._options.canary_every)

    @property
    def tenant_id(self) -> int:
        return self._tenant_id

    @property
    def engine(self) -> str:
        """The engine in use; empty for an empty gallery."""
        return self._index.engine if self._index is not None else ""

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return self._index.nbytes if self._index is not None else 0

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else 0

    def labels(self) -> Labels:
        """All labels, in rising order."""
        with self._lock.reading():
            return self._index.labels() if self._index is not None else np.empty(0, np.int64)

    # Searching -----------------------------------------------------------------

    def search(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None, at_least: int = 0
    ) -> list[list[Hit]]:
        """For each probe (rows of unit length) the best ``k`` labels, best first. Applies the
        change ``at_least`` before; with ``collections`` returns only labels in one of them.

        Raises ``BadVector``, and ``IndexBehind`` when the gallery does not have that change
        yet.
        """
        if self.applied < at_least and self.catch_up() < at_least:
            raise IndexBehind
        with self._lock.reading():
            if self._index is None:
                return [[] for _ in probes]
            found = self._index.search(probes, k, collections)
            self.canary.observe(self._index, probes, collections, found)
        return found

    # Following the log -----------------------------------------------------------------

    def open(self, removed_at: float = 0.0) -> int:
        """Load the newest usable snapshot, or else the gallery, then apply later changes;
        returns the last applied number. ``removed_at`` is that of an earlier view."""
        with self._changing:
            self.removed_at = removed_at
            self._replace_index(*(self._load_snapshot() or self._read_gallery()))
            return self.catch_up()

    def catch_up(self) -> int:
        """Apply new changes; returns the last applied number."""
        with self._changing:
            while changes := self._source.changed(self._tenant_id, self.applied, BATCH_SIZE):
                if changes[0][0] != self.applied + 1:
                    return self._reread()
                if not self._apply(changes):
                    return self._reread()
            latest = self._source.latest(self._tenant_id)
            return self.applied if self.applied == latest else self._handle_gap()

    def rebuild(self) -> int:
        """Read the whole gallery, without snapshots."""
        with self._changing:
            self._replace_index(*self._read_gallery())
            return self.catch_up()

    def verify(self) -> IndexDifference:
        """Compare the index with the gallery, label by label and bit by bit. Changes made
        meanwhile appear as differences."""
        with self._changing:
            self.catch_up()
            rows = self._index.rows if self._index is not None else VectorRows(0)
            return compare_with_gallery(rows, self._source.all_entries(self._tenant_id))

    def _replace_index(
        self, index: FlatIndex | None, model: VectorModel | None, number: int
    ) -> None:
        with self._lock.writing():
            self._index, self._model, self.applied = index, model, number

    def _handle_gap(self) -> int:
        """Handle a log that does not end with the gallery's number: a change came in between,
        the log was truncated, or an older database was restored."""
        if self._source.changed(self._tenant_id, self.applied, 1):
            return self.catch_up()
        return self._reread()

    def _reread(self) -> int:
        LOG.warning(
            "The change log does not reach back to the index; reading the gallery again.",
            extra={"action": "index_reread", "tenant": self._tenant_id,
                   "applied": self.applied},
        )
        return self.rebuild()

    def _load_snapshot(self) -> tuple[FlatIndex, VectorModel, int] | None:
        model = self._source.vector_model(self._tenant_id)
        if model is None:
            return None
        choice = self._options.engine_choice
        found = load_newest(self._source, self._store, self._tenant_id, model, choice)
        if found is None:
            return None
        index, record = found
        index.rows.reserve()
        # A process that died before it discarded older snapshots may have left some, and the
        # log after this snapshot does not name labels deleted before it.
        self._note_removal(record.number)
        if index.engine != choice.engine_for(len(index), index.engine):
            index = choice.build(index.rows)
        return index, model, record.number

    def _read_gallery(self) -> tuple[FlatIndex | None, VectorModel | None, int]:
        number = self._source.latest(self._tenant_id)
        model = self._source.vector_model(self._tenant_id)
        # Recorded snapshots that were not used may hold labels that are deleted by now.
        self._note_removal(number)
        if model is None:
            return None, None, number
        rows = VectorRows(model.dimension)
        entries = self._source.all_entries(self._tenant_id)
        self._pace.begin()
        while portion := list(islice(entries, BATCH_SIZE)):
            self._ensure_slots(rows, portion)
            rows.upsert(self._valid(portion, model))
            self._pace.rest()
        return self._options.engine_choice.build(rows), model, number

    def _apply(self, changes: Sequence[tuple[int, int]]) -> bool:
        """Apply a portion of the log; False when the vectors come from another model."""
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
                self._upsert(self._index, entries)
            self.applied = changes[-1][0]
            self._switch_engine()
        return True

    def _same_model(self) -> bool:
        """Whether the gallery's vectors come from this view's model; the first vectors set
        it."""
        model = self._source.vector_model(self._tenant_id)
        if self._index is None and model is not None:
            self._model = model
            self._index = self._options.engine_choice.build(VectorRows(model.dimension))
        return model is None or model == self._model

    def _upsert(self, index: FlatIndex, entries: Sequence[IndexEntry]) -> None:
        self._ensure_slots(index.rows, entries)
        index.upsert(self._valid(entries, self._model))

    def _ensure_slots(self, rows: VectorRows, entries: Sequence[IndexEntry]) -> None:
        if len(rows.new_collections(entries)) > rows.free_slots:
            rows.release_other_collections(self._source.live_collections(self._tenant_id))

    def _valid(self, entries: Sequence[IndexEntry], model: VectorModel | None) -> list[IndexEntry]:
        """The entries with a valid vector. The gallery rejects invalid ones, too; one that is
        stored nevertheless must not prevent searches for all others."""
        valid = valid_entries(entries, model.dimension if model else 0)
        if len(valid) < len(entries):
            LOG.error(
                "The gallery holds invalid vectors, which are left out of the index.",
                extra={"action": "index_refused", "tenant": self._tenant_id,
                       "count": len(entries) - len(valid)},
            )
        return valid

    def _note_removal(self, number: int) -> None:
        if not self.removed_at:
            self.removed_at = self._clock()
        self._last_removal = max(self._last_removal, number)

    # Maintenance -------------------------------------------------------------------

    def maintain(self) -> None:
        """Run long tasks that are not urgent: rebuild an index with much garbage, write and
        purge snapshots, delete orphaned objects. Searches continue, except while the index
        is copied or replaced."""
        before = self.applied
        self.lag = self.catch_up() - before
        if self._index is not None and self._index.garbage_share > self._options.garbage_share:
            self.compact()
        records = self._source.snapshots(self._tenant_id)
        self.snapshot_number = records[0].number if records else 0
        self.snapshot_at = records[0].created_at if records else 0.0
        if self._options.purge_due(self.removed_at, self._clock()):
            self._purge(records)
        elif self.snapshot_debt > 1:
            self.snapshot()
        if self._clock() - self._orphans_checked_at >= ORPHAN_AGE_S:
            delete_orphans(self._source, self._store, self._tenant_id, self._clock())
            self._orphans_checked_at = self._clock()

    def compact(self) -> None:
        """Rebuild the index without deleted labels."""
        with self._changing:
            if self._index is None:
                return
            with self._lock.reading():
                rows = self._index.rows.compacted()
            fresh = self._options.engine_choice.build(rows, self._index.engine)
            with self._lock.writing():
                self._index = fresh

    def snapshot(self) -> SnapshotRecord | None:
        """Write and record a snapshot, and discard those that it replaces; None for an empty
        gallery."""
        with self._changing:
            if self._index is None or self._model is None:
                self._discard(self._source.snapshots(self._tenant_id))
                return None
            if self._index.retains_deleted:
                self.compact()
            with self._lock.reading():
                copy = copy_index(self._index, self.applied)
            model, removal = self._model, self._last_removal
        written = write_snapshot(copy, model, self._tenant_id, self._store, self._clock())
        recorded = self._source.record_snapshot(written)
        records = self._source.snapshots(self._tenant_id)
        self._discard([
            record
            for rank, record in enumerate(records)
            if record.id != recorded.id
            and (rank >= SNAPSHOTS_KEPT or record.number < removal)
        ])
        return recorded

    def _discard(self, records: Sequence[SnapshotRecord]) -> None:
        discard_snapshots(records, self._source, self._store)

    @property
    def snapshot_debt(self) -> float:
        """Changes after the newest snapshot that the last round found, by those after which the
        next one is due."""
        due = max(self._options.snapshot_changes, GROWTH_BETWEEN_SNAPSHOTS * len(self))
        return (self.applied - self.snapshot_number) / due

    def _purge(self, records: Sequence[SnapshotRecord]) -> None:
        """Replace or discard the snapshots with deleted labels."""
        removal = self._last_removal
        stale = [
            record
            for record in records
            if record.number < removal and holds_deleted(record, self._source)
        ]
        if stale and stale[0] == records[0]:
            self.snapshot()
        else:
            self._discard(stale)
        if self._last_removal == removal:
            self.removed_at = 0.0

    def _switch_engine(self) -> None:
        """Switch the engine when the gallery has outgrown it."""
        index = self._index
        if index is not None:
            wanted = self._options.engine_choice.engine_for(len(index), index.engine)
            if wanted != index.engine:
                self._index = self._options.engine_choice.build(index.rows, index.engine)
