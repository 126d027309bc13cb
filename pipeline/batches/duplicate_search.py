"""Who stands under two names in a batch, and which names stand for two people.

A batch that is done is searched in itself and in the rest of its gallery, by jobs that
follow each other, one at a time (``pipeline/execution/duplicate_search.py``). ``batches.findings``
says how far the search is and what it has counted; the table ``findings`` lists pairs of
faces, without their names: erasing either face erases the finding.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Engine, delete, insert, select, update

from pipeline.batches.insert import queue_job
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.statements import lock_batch
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batches, faces, findings, jobs
from pipeline.jobs.model import ENDED, Job, JobState
from pipeline.operations import Params
from pipeline.types import JsonObject

OPERATION = "doubles"
"""Of the jobs that search a batch. ``params``: ``{"batch": id}``."""

MAX_LISTED = 5000
"""Findings of one kind that a batch lists; further ones are counted only."""


class FindingKind(StrEnum):
    """What was found. The first face is one of the batch, or of a name that it brings."""

    SAME_PICTURE = "same_picture"
    """An item has the bytes of an enrolled picture, and another name."""
    TWO_NAMES = "two_names"
    """Two faces of one person under different names."""
    UNNAMED = "unnamed"
    """Two faces of one person, and at least one of them without a name."""
    TWO_PEOPLE = "two_people"
    """A name's faces fall into groups; ``count`` of them in this one."""
    ODD_FACE = "odd_face"
    """One face does not belong to the others of its name."""


@dataclass(frozen=True, slots=True)
class NewFinding:
    """``cosine`` between the faces, or the mean between the groups that they stand for;
    None of equal pictures. ``last_change``: the item that brought the picture again."""

    kind: FindingKind
    face_id: int
    other_id: int | None = None
    cosine: float | None = None
    count: int = 1
    number: int | None = None


def strength(kind: FindingKind, cosine: float | None) -> float:
    """How sure a finding is: of one person the more alike, of two the less; equal pictures
    (None) are as alike as can be."""
    alike = 1.0 if cosine is None else cosine
    return -alike if kind in (FindingKind.TWO_PEOPLE, FindingKind.ODD_FACE) else alike


class SearchProgress(Params, frozen=True, kw_only=True):
    """How far a batch's search is: what ``batches.findings`` holds.

    ``state``: ``searching``, ``done``, ``failed`` for ``reason`` (a code of ``errors``).
    ``enrolled`` and ``duplicate`` are the batch's counters as it was searched, ``job`` is the
    one that goes on. ``faces`` of the batch are compared with each other and with the
    ``other_faces`` of the gallery; ``same``: two are one person from this cosine on, which
    strangers reach at the rate ``same_fmr``; faces of a name belong together from the
    cosine ``apart`` on, at the rate ``apart_fmr``; both are None without a calibration
    table. ``false_findings`` pairs of strangers are expected among what was found.

    The faces of the batch are held a block at a time, from the item after ``rows`` on, and
    compared with all from the label after ``against`` on. ``compared`` pairs are done,
    ``through`` is their share. ``found`` counts what was found of each kind, ``page``
    what was listed, ``refused`` the items that were refused for it.
    """

    state: Literal["searching", "done", "failed"] = "searching"
    enrolled: int = 0
    duplicate: int = 0
    job: str = ""
    reason: str = ""
    faces: int = 0
    rest: int = 0
    same: float | None = None
    same_fmr: float | None = None
    apart: float | None = None
    apart_fmr: float | None = None
    false_findings: float = 0.0
    begun: bool = False
    held: int = 0
    against: int = 0
    compared: int = 0
    through: float = 0.0
    found: dict[str, int] = msgspec.field(default_factory=dict)
    listed: dict[str, int] = msgspec.field(default_factory=dict)
    refused: int = 0

    def is_run_by(self, job: Job) -> bool:
        """Whether it is this job that goes on with it."""
        return self.state == "searching" and self.job == job.id

    def as_json(self) -> JsonObject:
        """It as people and programs are shown it."""
        hidden = {"job", "begun", "compared", "held", "against", "enrolled", "duplicate"}
        return {name: value for name, value in self.to_json().items() if name not in hidden}


def search_of(batch: Batch) -> SearchProgress | None:
    """The search of a batch; None when there was none yet."""
    return None if batch.findings is None else SearchProgress.from_json(batch.findings)


def is_searched(batch: Batch) -> bool:
    """Whether the search of a batch as it is now is over."""
    search = search_of(batch)
    return search is not None and search.state != "searching" and _is_current(search, batch)


# Beginning and going on --------------------------------------------------------------


class DuplicateSearches:
    """Begins the searches of batches that are done. ``clock`` gives epoch seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._over: set[tuple[str, int, int]] = set()

    def start_due(self) -> list[Job]:
        """Queue a job for every batch that is done and was not searched as it is now, and
        note which searches have come to nothing; the jobs, which nobody has rung for.

        Raises ``DatabaseUnavailable``.
        """
        begun = []
        for batch_id in self._candidates():
            with reading(self._engine) as connection:
                row = connection.execute(
                    select(batches.c.findings, batches.c.enrolled, batches.c.duplicate)
                    .where(batches.c.id == batch_id)
                ).one_or_none()
            if row is None:
                continue
            search = None if row.findings is None else SearchProgress.from_json(row.findings)
            if search is None or not _is_current(search, row):
                begun += self._start(batch_id)
            elif search.state == "searching":
                self._check(batch_id, search)
            else:
                self._over.add((batch_id, row.enrolled, row.duplicate))
        return begun

    def _candidates(self) -> list[str]:
        """Batches that are done and of which is not known yet that their search is over:
        few of those that there are."""
        query = select(
            batches.c.id, batches.c.enrolled, batches.c.duplicate, batches.c.findings.is_(None)
        ).where(batches.c.state == BatchState.DONE.value)
        with reading(self._engine) as connection:
            done = [tuple(row) for row in connection.execute(query)]
        self._over &= {row[:3] for row in done}
        return [row[0] for row in done if row[3] or row[:3] not in self._over]

    def _start(self, batch_id: str) -> list[Job]:
        with writing(self._engine) as connection:
            batch = lock_batch(connection, batch_id)
            if batch is None or batch.state is not BatchState.DONE:
                return []
            before = search_of(batch)
            if before is not None and _is_current(before, batch):
                return []
            connection.execute(delete(findings).where(findings.c.batch_id == batch_id))
            fresh = SearchProgress(enrolled=batch.enrolled, duplicate=batch.duplicate)
            if not batch.enrolled and not batch.duplicate:
                _store(connection, batch_id, changed(fresh, state="done", through=1.0))
                return []
            job = _queue(connection, batch, self._clock())
            _store(connection, batch_id, changed(fresh, job=job.id))
        return [job]

    def _check(self, batch_id: str, search: SearchProgress) -> None:
        """Note that a search whose job has ended, and that did not end itself, has failed."""
        ended = select(jobs.c.state, jobs.c.error_code).where(jobs.c.id == search.job)
        with reading(self._engine) as connection:
            row = connection.execute(ended).one_or_none()
        if row is not None and JobState(row.state) not in ENDED:
            return
        reason = "job_lost" if row is None else row.error_code or row.state
        with writing(self._engine) as connection:
            batch = lock_batch(connection, batch_id)
            now = None if batch is None else search_of(batch)
            if now is not None and now.state == "searching" and now.job == search.job:
                _store(connection, batch_id, changed(now, state="failed", reason=reason))


def restart_failed(engine: Engine, batch_id: str) -> bool:
    """Have a search that failed begun anew by upkeep; False when there is none such."""
    with writing(engine) as connection:
        batch = lock_batch(connection, batch_id)
        search = None if batch is None else search_of(batch)
        if search is None or search.state != "failed":
            return False
        connection.execute(
            update(batches).where(batches.c.id == batch_id).values(findings=None)
        )
        return True


def _is_current(search: SearchProgress, counted: Any) -> bool:
    """Whether the search is of the batch as it is ``counted`` now."""
    return (search.enrolled, search.duplicate) == (counted.enrolled, counted.duplicate)


def _queue(connection: Connection, batch: Batch, now: float) -> Job:
    # Published never: the reconciler rings for it at once.
    return queue_job(connection, batch, OPERATION, {}, now, published_at=0.0)


def _store(connection: Connection, batch_id: str, search: SearchProgress) -> None:
    connection.execute(
        update(batches).where(batches.c.id == batch_id).values(findings=search.to_json())
    )


def changed(search: SearchProgress, **values: Any) -> SearchProgress:
    """The search with other values."""
    return SearchProgress.from_json({**search.to_json(), **values})


# The end of a job ----------------------------------------------------------------------


def lock_running_search(connection: Connection, job: Job) -> tuple[Batch, SearchProgress] | None:
    """The batch that a job searches, locked until the transaction ends, and how far it is;
    None when the search is not this job's (any more)."""
    batch = lock_batch(connection, job.params["batch"])
    search = None if batch is None else search_of(batch)
    if batch is None or search is None or batch.state is not BatchState.DONE:
        return None
    return (batch, search) if search.is_run_by(job) else None


def record_findings(
    connection: Connection,
    batch: Batch,
    search: SearchProgress,
    new: Sequence[NewFinding],
    now: float,
) -> SearchProgress:
    """Keep what a job has found, in the transaction that ends it: ``search`` says how far
    it came. When that is not the end, a job goes on with it. What is kept.

    The strongest of each kind come first in ``new``; findings about faces that are gone
    are left out, those beyond ``MAX_LISTED`` too.
    """
    there = _existing_faces(connection, new)
    room = Counter({kind: MAX_LISTED - search.listed.get(kind, 0) for kind in FindingKind})
    rows = []
    for each in new:
        if room[each.kind] > 0 and {each.face_id, each.other_id or each.face_id} <= there:
            room[each.kind] -= 1
            rows.append({"batch_id": batch.id, **_columns(each)})
    if rows:
        connection.execute(insert(findings), rows)
    listed = Counter(search.listed) + Counter(row["kind"] for row in rows)
    kept = changed(search, listed=dict(listed))
    if kept.state == "searching":
        kept = changed(kept, job=_queue(connection, batch, now).id)
    _store(connection, batch.id, kept)
    return kept


def _existing_faces(connection: Connection, new: Sequence[NewFinding]) -> set[int]:
    """Those of the faces that exist; who deletes one of them waits for the transaction."""
    wanted = sorted({id_ for each in new for id_ in (each.face_id, each.other_id) if id_})
    there: set[int] = set()
    for start in range(0, len(wanted), 1000):
        there.update(
            connection.execute(
                select(faces.c.id).where(faces.c.id.in_(wanted[start : start + 1000]))
                .order_by(faces.c.id).with_for_update(read=True, key_share=True)
            ).scalars()
        )
    return there


def _columns(new: NewFinding) -> dict[str, Any]:
    return {
        "kind": new.kind.value, "face_id": new.face_id, "other_id": new.other_id,
        "number": new.number, "count": new.count,
        "cosine": None if new.cosine is None else round(new.cosine, 4),
    }
