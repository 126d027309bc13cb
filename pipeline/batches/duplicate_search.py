"""The search of a batch for people with two names, and for names with two people.

A batch that is done is searched, within itself and against the rest of its gallery, by jobs
that follow each other (``pipeline/execution/duplicate_search.py``). ``batches.findings`` has
the progress of the search; the table ``findings`` lists pairs of faces. It has no names, and
erasing either face erases the finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Engine, delete, insert, select, update

from pipeline.batches.insert import queue_job
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.rows import lock_batch
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_row, read_rows, writing
from pipeline.database.keyset import blocks
from pipeline.database.schema import batches, faces, findings, jobs
from pipeline.jobs.model import ENDED, Job, JobState
from pipeline.operations import DUPLICATE_SEARCH, Params
from pipeline.types import JsonObject

MAX_LISTED = 5000
"""Findings of one kind that are listed for a batch; further ones are only counted."""

IDS_PER_STATEMENT = 1000


class FindingKind(StrEnum):
    """The kind of a finding. The first face is of the batch, or of a name in the batch."""

    SAME_PICTURE = "same_picture"
    """An item has the bytes of an enrolled picture and another name."""
    TWO_NAMES = "two_names"
    """Two faces of one person have different names."""
    UNNAMED = "unnamed"
    """Two faces are of one person, and at least one of them has no name."""
    TWO_PEOPLE = "two_people"
    """The faces of a name fall into groups; this one has ``count`` faces."""
    ODD_FACE = "odd_face"
    """One face does not match the others of its name."""


@dataclass(frozen=True, slots=True)
class NewFinding:
    """``cosine``: between the faces, or the mean between their groups; None for equal
    pictures. ``number``: the item that repeats the picture."""

    kind: FindingKind
    face_id: int
    other_id: int | None = None
    cosine: float | None = None
    count: int = 1
    number: int | None = None


def strength(kind: FindingKind, cosine: float | None) -> float:
    """How certain a finding is: of one person, the more similar the faces are; of two
    people, the less similar. Equal pictures (None) are as similar as possible."""
    similarity = 1.0 if cosine is None else cosine
    two_people = kind in (FindingKind.TWO_PEOPLE, FindingKind.ODD_FACE)
    return -similarity if two_people else similarity


# Progress ----------------------------------------------------------------------------


class SearchProgress(Params, frozen=True, kw_only=True):
    """The progress of a batch's search: the value of ``batches.findings``.

    ``state``: ``searching``, ``done``, or ``failed`` for ``reason`` (a code of ``errors``).
    ``enrolled`` and ``duplicate`` are the batch's counters when it was searched; ``job`` is
    the job that continues. The ``faces`` of the batch are compared with each other and with
    the ``rest`` of the gallery. Two faces are one person from the cosine ``same`` on, which
    strangers reach at the rate ``same_fmr``. The faces of a name belong together from the
    cosine ``apart`` on, at the rate ``apart_fmr``. Both are None without a calibration
    table. ``false_findings`` pairs of strangers are expected among the findings.

    The faces of the batch are compared a block at a time. The block starts after the item
    ``held`` and was compared with all faces up to the label ``against``. ``compared`` pairs
    are done, the share ``through`` of all. ``found`` counts the findings of each kind,
    ``listed`` those that are listed, ``refused`` the items that were rejected, ``cut_names``
    the names with so many faces that not all of them were looked at.
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
    cut_names: int = 0

    def is_run_by(self, job: Job) -> bool:
        """Whether ``job`` is the one that continues the search."""
        return self.state == "searching" and self.job == job.id

    def public_json(self) -> JsonObject:
        """The part that the API and the command line show."""
        hidden = {"job", "begun", "compared", "held", "against", "enrolled", "duplicate"}
        return {name: value for name, value in self.to_json().items() if name not in hidden}


def search_of(batch: Batch) -> SearchProgress | None:
    """The search of a batch; None when there was none yet."""
    return None if batch.findings is None else SearchProgress.from_json(batch.findings)


def is_searched(batch: Batch) -> bool:
    """Whether the search of the batch in its present state has ended."""
    search = search_of(batch)
    return search is not None and search.state != "searching" and _is_current(search, batch)


def changed(search: SearchProgress, **values: Any) -> SearchProgress:
    """The search with other values."""
    return msgspec.structs.replace(search, **values)


def _is_current(search: SearchProgress, batch: Any) -> bool:
    """Whether the search is of the batch (or its row) in its present state."""
    return (search.enrolled, search.duplicate) == (batch.enrolled, batch.duplicate)


# Starting ----------------------------------------------------------------------------


class DuplicateSearches:
    """Starts the searches of batches that are done. ``clock`` gives epoch seconds (None: the
    database's)."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)
        self._over: set[tuple[str, int, int]] = set()

    def start_due(self) -> list[Job]:
        """Queue a job for every batch that is done and was not searched in its present
        state, and record which searches have failed; the jobs, not published yet.

        Raises ``DatabaseUnavailable``.
        """
        started = []
        for batch_id in self._candidates():
            row = read_row(
                self._engine,
                select(batches.c.findings, batches.c.enrolled, batches.c.duplicate)
                .where(batches.c.id == batch_id),
            )
            if row is None:
                continue
            search = None if row.findings is None else SearchProgress.from_json(row.findings)
            if search is None or not _is_current(search, row):
                started += self._start(batch_id)
            elif search.state == "searching":
                self._check(batch_id, search)
            else:
                self._over.add((batch_id, row.enrolled, row.duplicate))
        return started

    def _candidates(self) -> list[str]:
        """Batches that are done and whose search is not known to have ended: few of all."""
        query = select(
            batches.c.id, batches.c.enrolled, batches.c.duplicate, batches.c.findings.is_(None)
        ).where(batches.c.state == BatchState.DONE.value)
        done = [tuple(row) for row in read_rows(self._engine, query)]
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
            search = SearchProgress(enrolled=batch.enrolled, duplicate=batch.duplicate)
            if not batch.enrolled and not batch.duplicate:
                _store(connection, batch_id, changed(search, state="done", through=1.0))
                return []
            job = _queue(connection, batch, self._clock())
            _store(connection, batch_id, changed(search, job=job.id))
        return [job]

    def _check(self, batch_id: str, search: SearchProgress) -> None:
        """Record that a search has failed when its job ended and the search did not."""
        query = select(jobs.c.state, jobs.c.error_code).where(jobs.c.id == search.job)
        row = read_row(self._engine, query)
        if row is not None and JobState(row.state) not in ENDED:
            return
        reason = "job_lost" if row is None else row.error_code or row.state
        with writing(self._engine) as connection:
            batch = lock_batch(connection, batch_id)
            now = None if batch is None else search_of(batch)
            if now is not None and now.state == "searching" and now.job == search.job:
                _store(connection, batch_id, changed(now, state="failed", reason=reason))


def restart_failed(engine: Engine, batch_id: str) -> bool:
    """Have upkeep restart a failed search; False when the batch has none."""
    with writing(engine) as connection:
        batch = lock_batch(connection, batch_id)
        search = None if batch is None else search_of(batch)
        if search is None or search.state != "failed":
            return False
        connection.execute(update(batches).where(batches.c.id == batch_id).values(findings=None))
        return True


def _queue(connection: Connection, batch: Batch, now: float) -> Job:
    # As if published long ago: the reconciler publishes it at once.
    return queue_job(connection, batch, DUPLICATE_SEARCH, {}, now, published_at=0.0)


def _store(connection: Connection, batch_id: str, search: SearchProgress) -> None:
    connection.execute(
        update(batches).where(batches.c.id == batch_id).values(findings=search.to_json())
    )


# The end of a job ----------------------------------------------------------------------


def lock_running_search(connection: Connection, job: Job) -> tuple[Batch, SearchProgress] | None:
    """The batch that a job searches, locked until the transaction ends, and its progress;
    None when the search is not (or no longer) this job's."""
    batch = lock_batch(connection, job.params["batch"])
    search = None if batch is None else search_of(batch)
    if batch is None or search is None or batch.state is not BatchState.DONE:
        return None
    return (batch, search) if search.is_run_by(job) else None


def record_findings(
    connection: Connection, batch: Batch, search: SearchProgress, new: Sequence[NewFinding],
    now: float,
) -> SearchProgress:
    """Record a job's findings and progress, in the transaction that
    ends it, and queue the next job unless the search is over; the progress as recorded.

    The strongest findings of each kind come first in ``new``. Those about faces that are
    gone, and those beyond ``MAX_LISTED``, are left out.
    """
    existing = _existing_faces(connection, new)
    room = Counter({kind: MAX_LISTED - search.listed.get(kind, 0) for kind in FindingKind})
    rows = []
    for each in new:
        if room[each.kind] > 0 and {each.face_id, each.other_id or each.face_id} <= existing:
            room[each.kind] -= 1
            rows.append({"batch_id": batch.id, **_columns(each)})
    if rows:
        connection.execute(insert(findings), rows)
    listed = Counter(search.listed) + Counter(row["kind"] for row in rows)
    recorded = changed(search, listed=dict(listed))
    if recorded.state == "searching":
        recorded = changed(recorded, job=_queue(connection, batch, now).id)
    _store(connection, batch.id, recorded)
    return recorded


def _existing_faces(connection: Connection, new: Sequence[NewFinding]) -> set[int]:
    """Those of the faces that exist, locked against deletion until the transaction ends."""
    wanted = sorted({id_ for each in new for id_ in (each.face_id, each.other_id) if id_})
    existing: set[int] = set()
    for some in blocks(wanted, IDS_PER_STATEMENT):
        existing.update(
            connection.execute(
                select(faces.c.id).where(faces.c.id.in_(some))
                .order_by(faces.c.id).with_for_update(read=True, key_share=True)
            ).scalars()
        )
    return existing


def _columns(new: NewFinding) -> dict[str, Any]:
    return {
        "kind": new.kind.value, "face_id": new.face_id, "other_id": new.other_id,
        "number": new.number, "count": new.count,
        "cosine": None if new.cosine is None else round(new.cosine, 4),
    }
