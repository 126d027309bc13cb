"""Views that an engine outside of the process serves, and the follower that feeds it.

    search      the gallery's number -> the engine's head -> candidates -> their present state
    follower    the change log -> the present state of its labels -> the engine -> its head
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from pipeline.config.settings import Settings
from pipeline.errors import FaceError, IndexBehind
from pipeline.index.base import ChangeSource, Hit
from pipeline.index.vector_engine import Space, VectorEngine
from pipeline.index.vector_rows import check_vectors, valid_entries
from pipeline.index.vector_spaces import SpaceRow, SpaceState, SpaceStore
from pipeline.types import Embedding, IndexEntry, VectorModel

LOG = logging.getLogger(__name__)

BATCH_SIZE = 1000
"""Changes or entries that go to the engine at once: 1 MB of vectors of half precision."""

SLICE_S = 3.0
"""Seconds for which a round works on one space: well below the lease."""

SPARE = 16
"""Candidates beyond those that are wanted: an engine may compare rounded vectors, and so confuse
those at the end of its list."""

SHRINK_HYSTERESIS = 0.5
"""Share of the limit below which a gallery leaves the engine."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Galleries from ``faces`` on (0: none) are served by the engine, encrypted ones only with
    ``encrypted``. A search compares up to ``lag`` changed faces itself. ``choose_every_s`` are the
    seconds between two looks at which galleries those are, and ``erase_every_s`` those between two
    removals of what was deleted from the engine's files."""

    faces: int = 1_000_000
    encrypted: bool = False
    lag: int = 1000
    choose_every_s: float = 10.0
    erase_every_s: float = 10.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            settings.vector_engine_faces, settings.vector_engine_encrypted,
            settings.vector_engine_lag,
        )


@dataclass(slots=True)
class _SpaceWork:
    """What a follower knows of a space that it feeds."""

    reading: Iterator[IndexEntry] | None = None
    erased_at: float = float("-inf")


@dataclass(slots=True)
class EngineViews:
    """``Views`` over a vector engine. Any number of threads and processes may search; one process
    at a time, which holds the lease of a space, feeds it in ``keep``, from one thread."""

    source: ChangeSource
    engine: VectorEngine
    spaces: SpaceStore
    holder: str
    """The name of this process's follower: of no other."""
    options: EngineOptions = field(default_factory=EngineOptions)
    lag: int = field(default=0, init=False)
    """How many changes the last round had to apply."""
    reached: bool = field(default=False, init=False)
    """Whether the engine has answered the last round."""
    held: list[SpaceRow] = field(default_factory=list, init=False)
    """The spaces that this process follows for, as the last round found them."""
    _work: dict[Space, _SpaceWork] = field(default_factory=dict, init=False)
    _chosen_at: float = field(default=float("-inf"), init=False)

    # Searching -----------------------------------------------------------------

    def search(
        self, tenant_id: int, probe: Embedding, k: int,
        collections: Collection[int] | None, at_least: int,
    ) -> list[Hit]:
        """As ``Views.search``. Raises ``IndexBehind`` also when no engine serves the tenant, when
        it does not answer, and when it is too far behind."""
        space = self.spaces.serving(tenant_id)
        if space is None:
            raise IndexBehind("The vector engine does not serve this gallery.")
        return self.search_in(space, probe, k, collections, at_least)

    def search_in(
        self, space: Space, probe: Embedding, k: int, collections: Collection[int] | None,
        at_least: int,
    ) -> list[Hit]:
        """The same in a space that serves.

        Whatever the engine answers, each hit exists and is compared as it is in the database. What
        has changed after the engine's head is compared, too, so that no hit is missing.
        """
        check_vectors([probe], len(probe))
        changed = self._changed_labels(space, at_least)
        # As many more as the engine may have that have gone or left the collections.
        asked = k + len(changed) + SPARE
        found = self.engine.nearest(space, probe, asked, collections)
        entries = self.source.entries(space.tenant_id, sorted(changed.union(found)))
        wanted = None if collections is None else frozenset(collections)
        hits = [
            Hit(entry.label, float(entry.vector @ probe))
            for entry in valid_entries(entries, len(probe))
            if wanted is None or entry.collections & wanted
        ]
        return sorted(hits, key=lambda hit: (-hit.cosine, hit.label))[:k]

    def _changed_labels(self, space: Space, at_least: int) -> set[int]:
        """The labels whose present state the engine may not have."""
        latest = self.source.latest(space.tenant_id)
        head = self._head(space)
        if head > latest:  # changes came in between
            latest = self.source.latest(space.tenant_id)
        if at_least > latest or head > latest:
            raise IndexBehind
        if head == latest:
            return set()
        changes = self.source.changed(space.tenant_id, head, self.options.lag + 1)
        if len(changes) > self.options.lag:
            raise IndexBehind(f"The vector engine is {latest - head} changes behind.")
        if not changes or changes[0][0] != head + 1 or changes[-1][0] < latest:
            raise IndexBehind("The change log does not reach back to the vector engine.")
        return {label for _, label in changes}

    def _head(self, space: Space) -> int:
        head = self.engine.heads().get(space)
        if head is None:
            raise IndexBehind("The vector engine does not have this gallery.")
        return head

    # Following the log -----------------------------------------------------------------

    def keep(self, tenants: Sequence[int]) -> None:
        """Run one round of upkeep: choose which of ``tenants`` the engine serves, follow their
        logs, drop the spaces of all others. Raises ``IndexBehind`` when the engine does not
        answer."""
        self.held = self.spaces.take(self.holder)
        try:
            heads = self.engine.heads()
        except IndexBehind as error:
            self.reached = False
            for row in self.held:
                self._note_trouble(row, error)
            raise
        self.reached = True
        self._drop_unknown(heads)
        if time.monotonic() - self._chosen_at >= self.options.choose_every_s:
            self._choose(tenants)
            self._chosen_at = time.monotonic()
            self.held = self.spaces.take(self.holder)
        self.lag = 0
        for row in self.held:
            self._keep_space(row, heads.get(row.space))
        for space in self._work.keys() - {row.space for row in self.held}:
            del self._work[space]

    def forget(self, tenant_id: int) -> None:
        """Have the space of a tenant dropped, and no search use it from now on."""
        self.spaces.leave(tenant_id)

    def close(self) -> None:
        """Let another process follow at once."""
        self.spaces.give_back(self.holder)
        self.engine.close()

    def _drop_unknown(self, heads: dict[Space, int]) -> None:
        """Drop what no row names: of a database that was restored since. A space gets its row
        before it is made, so that rows that are read after the spaces name all that are in use."""
        for space in heads.keys() - {row.space for row in self.spaces.rows()}:
            LOG.warning(
                "The vector engine holds a gallery that nobody knows; dropping it.",
                extra={"action": "vector_space_unknown", "tenant": space.tenant_id},
            )
            self.engine.drop(space)

    def _choose(self, tenants: Sequence[int]) -> None:
        limit = self.options.faces
        allowed = set(tenants) if limit else set()
        if not self.options.encrypted:
            allowed -= self.spaces.encrypted()
        present = set()
        for row in self.spaces.rows():
            if row.state is SpaceState.LEAVING:
                continue
            present.add(row.tenant_id)
            faces = self.spaces.count_faces(row.tenant_id)
            if row.tenant_id not in allowed or faces < SHRINK_HYSTERESIS * limit:
                self.spaces.leave(row.tenant_id)
        for tenant_id in allowed.intersection(self.spaces.large_galleries(limit)) - present:
            number = self.source.latest(tenant_id)
            model = self.source.vector_model(tenant_id)
            if model and self.spaces.count_faces(tenant_id) >= limit:
                self.spaces.open(tenant_id, model, number, self.holder)

    def _keep_space(self, row: SpaceRow, head: int | None) -> None:
        """One round for one space; its failure is noted and does not stop those of others."""
        try:
            match row.state:
                case SpaceState.LEAVING:
                    self.engine.drop(row.space)
                    self.spaces.forget(row.space)
                case SpaceState.FILLING:
                    self._fill(row, head)
                case SpaceState.SERVING:
                    self._serve(row, head)
        except FaceError as error:
            LOG.warning(
                "A gallery in the vector engine could not be kept: %s", error,
                extra={"action": "vector_space_failed", "tenant": row.tenant_id,
                       "code": error.code},
            )
            if row.state is SpaceState.FILLING:
                self._leave(row, error.message)
            else:
                self._note_trouble(row, error)

    def _fill(self, row: SpaceRow, head: int | None) -> None:
        """Read a part of the gallery into the engine; the last one has it serve."""
        model = self._model(row)
        if model is None:
            return self._leave(row, "it has another model")
        work = self._work.setdefault(row.space, _SpaceWork())
        if work.reading is None:
            if head is not None:
                return self._leave(row, "its follower has died while it was read")
            self.engine.create(row.space, model.dimension, row.number)
            work.reading = self.source.all_entries(row.tenant_id)
        until = time.monotonic() + SLICE_S
        faces = row.faces
        while time.monotonic() < until:
            portion = list(islice(work.reading, BATCH_SIZE))
            if not portion:
                return self._end_filling(row, model)
            self.engine.apply(
                row.space, row.number, row.number, valid_entries(portion, model.dimension), ()
            )
            faces += len(portion)
        self.spaces.note(row, faces=faces)
        return None

    def _end_filling(self, row: SpaceRow, model: VectorModel) -> None:
        head = self._follow(row, row.number, model)
        if head is None:
            return self._leave(row, "the change log does not reach back to it")
        self.spaces.note(
            row, state=SpaceState.SERVING.value, number=head, trouble=None,
            faces=self.spaces.count_faces(row.tenant_id), size=self.engine.size(row.space),
        )
        LOG.info(
            "The vector engine serves a gallery",
            extra={"action": "vector_space_serves", "tenant": row.tenant_id, "number": head},
        )
        return None

    def _serve(self, row: SpaceRow, head: int | None) -> None:
        model = self._model(row)
        if model is None:
            return self._leave(row, "it has another model")
        followed = None if head is None else self._follow(row, head, model)
        if followed is None:
            return self._leave(row, "the change log does not reach back to it")
        values: dict[str, object] = {}
        if followed != row.number or row.trouble:
            values = {"number": followed, "trouble": None}
        work = self._work.setdefault(row.space, _SpaceWork())
        if followed > row.erased and self._erase_due(work) and self.engine.erase(row.space):
            values |= {
                "erased": followed, "size": self.engine.size(row.space),
                "faces": self.spaces.count_faces(row.tenant_id),
            }
        if values:
            self.spaces.note(row, **values)
        return None

    def _erase_due(self, work: _SpaceWork) -> bool:
        now = time.monotonic()
        if now - work.erased_at < self.options.erase_every_s:
            return False
        work.erased_at = now
        return True

    def _follow(self, row: SpaceRow, head: int, model: VectorModel) -> int | None:
        """Apply new changes for a while; the new head. None when the log does not have them."""
        tenant_id, until = row.tenant_id, time.monotonic() + SLICE_S
        while changes := self.source.changed(tenant_id, head, BATCH_SIZE):
            if changes[0][0] != head + 1:
                return None
            labels = {label for _, label in changes}
            entries = self.source.entries(tenant_id, sorted(labels))
            gone = labels.difference(entry.label for entry in entries)
            valid = valid_entries(entries, model.dimension)
            self.engine.apply(row.space, head, changes[-1][0], valid, gone)
            self.lag += len(changes)
            head = changes[-1][0]
            if time.monotonic() >= until:
                return head
        latest = self.source.latest(tenant_id)
        if head < latest and self.source.changed(tenant_id, head, 1):
            return head  # a change came in between: the next round applies it
        return head if head == latest else None

    def _model(self, row: SpaceRow) -> VectorModel | None:
        """The gallery's model, while it is that of the space."""
        model = self.source.vector_model(row.tenant_id)
        return model if model is not None and model.sha256 == row.model_sha256 else None

    def _leave(self, row: SpaceRow, why: str) -> None:
        """Have a space dropped; the gallery gets a new one if it is to be served."""
        LOG.warning(
            "A gallery leaves the vector engine: %s", why,
            extra={"action": "vector_space_leaves", "tenant": row.tenant_id},
        )
        self._work.pop(row.space, None)
        self.spaces.note(row, state=SpaceState.LEAVING.value, trouble=why)

    def _note_trouble(self, row: SpaceRow, error: FaceError) -> None:
        if row.trouble != error.message:
            self.spaces.note(row, trouble=error.message)
