"""Searching a finished batch for duplicates. A job searches for some seconds, stores its
findings, and leaves the rest to the next job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from pipeline.batches.dismissals import Dismissals
from pipeline.batches.duplicate_candidates import (
    MAX_FACES_PER_NAME,
    DuplicateSearchConfig,
    FaceRows,
    select_rows,
)
from pipeline.batches.duplicate_search import (
    MAX_LISTED,
    FindingKind,
    NewFinding,
    SearchProgress,
    changed,
    lock_running_search,
    record_findings,
    search_of,
    strength,
)
from pipeline.batches.model import Batch, ItemState
from pipeline.batches.person_names import is_person_name
from pipeline.batches.reject import reject_faces
from pipeline.database.clock import database_time
from pipeline.duplicates.grouping import group_faces
from pipeline.duplicates.names import UNNAMED, name_number, name_numbers
from pipeline.duplicates.pairs import FaceSet, Pairs, PairSearch
from pipeline.duplicates.thresholds import count_pairs, thresholds_for
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import model_of
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import Job
from pipeline.types import JsonObject

BLOCK_FACES = 32_768
"""Faces of the batch that are held at a time: 64 MB of 512 numbers. Everything else is read
once for each such block."""

MAX_FINDINGS = 50_000
"""Findings that a job keeps in memory; the weakest go when there are more."""


def finish_duplicate_search(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``PackMismatch``, ``DecryptionFailed``, ``DatabaseUnavailable``."""
    config = resources.get(DuplicateSearchConfig)
    batch = config.candidates.batch(job.params["batch"])
    progress = None if batch is None else search_of(batch)
    if batch is None or progress is None or not progress.is_run_by(job):
        return JobOutcome({})
    dismissed = config.candidates.dismissals(batch)
    run = _DuplicateSearchRun(batch, progress, resources, config, dismissed)
    run.search()
    findings = run.strongest_findings()

    def effect(connection: Connection) -> JsonObject:
        now = database_time(connection.engine)
        writer = None
        if batch.options.reject_duplicates:
            # First: whatever changes a gallery locks it before it locks the batch.
            writer = lock_tenant(connection, job.tenant_id)
        running = lock_running_search(connection, job)
        if running is None:
            return {}
        after = run.progress
        if writer is not None:
            refused = reject_faces(writer, running[0], sorted(run.refused), now)
            after = changed(
                after, refused=after.refused + refused.total(),
                enrolled=after.enrolled - refused[ItemState.ENROLLED],
                duplicate=after.duplicate - refused[ItemState.DUPLICATE],
            )
        recorded = record_findings(connection, running[0], after, findings, now)
        return {"through": recorded.through, "found": recorded.found}

    return JobOutcome({}, effect)


class TimeBudget:
    """So many seconds of this thread's processor time, and on a busy machine at most six
    times as many by the clock: each job begins with reading its block."""

    def __init__(self, seconds: float) -> None:
        self._worked = time.thread_time() + seconds
        self._waited = time.monotonic() + 6 * seconds

    @property
    def spent(self) -> bool:
        return time.thread_time() > self._worked or time.monotonic() > self._waited


@dataclass(slots=True)
class _DuplicateSearchRun:
    """One job's part of a search; ``progress`` says how far the search has come."""

    batch: Batch
    progress: SearchProgress
    resources: Resources
    config: DuplicateSearchConfig
    dismissed: Dismissals
    findings: dict[tuple[FindingKind, int, int], NewFinding] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    _dismissed_names: set[frozenset[int]] = field(init=False)

    def __post_init__(self) -> None:
        names = self.dismissed.names
        self._dismissed_names = {frozenset(map(name_number, pair)) for pair in names}

    def search(self) -> None:
        """Search until the time budget is spent or the search is done."""
        budget = TimeBudget(self.config.time_slice_s)
        if not self.progress.begun:
            self._begin()
        while self.progress.state == "searching":
            if self.progress.same is None or self.progress.apart is None:
                self._end()
                return
            held, last = self.config.candidates.batch_faces(
                self.batch, self.progress.held, BLOCK_FACES
            )
            if not last:
                self._end()
            elif not len(held):
                self._advance(held=last, against=0)
            elif self._compare(held, self.progress.same, self.progress.apart, budget):
                return
            else:
                self._advance(held=last, against=0)

    def strongest_findings(self) -> list[NewFinding]:
        """The findings, the strongest of each kind first."""
        return sorted(self.findings.values(), key=lambda each: (each.kind, -_strength(each)))

    def _advance(self, **values: object) -> None:
        self.progress = changed(self.progress, **values)

    def _end(self) -> None:
        self._advance(state="done", through=1.0)

    # -- the beginning ----------------------------------------------------------------

    def _begin(self) -> None:
        """Count the faces to compare, and choose the thresholds."""
        self._add_repeated_images()
        batch_faces, other_faces = self.config.candidates.search_size(self.batch)
        self._advance(begun=True, faces=batch_faces, rest=other_faces)
        table = self.resources.calibration_of(self.batch.tenant_id)
        if not batch_faces:
            return
        self.config.candidates.check_model(self.batch, model_of(self.resources.pack))
        if table is None:
            self._advance(reason="uncalibrated")
            return
        pairs = count_pairs(batch_faces, other_faces)
        limits = thresholds_for(pairs, table, self.config.false_findings, self.config.apart_fmr)
        self._advance(
            same=limits.same, same_fmr=limits.same_fmr, apart=limits.apart,
            apart_fmr=limits.apart_fmr, false_findings=limits.same_fmr * pairs,
        )

    def _add_repeated_images(self) -> None:
        """Add pictures that came again under another name."""
        after = 0
        while True:
            some, after = self.config.candidates.repeated_images(self.batch, after)
            for each in some:
                if each.face_id not in self.dismissed.repeated and is_person_name(
                    each.given_name
                ) and name_number(each.given_name) != name_number(each.enrolled_name):
                    self._count(FindingKind.SAME_PICTURE, 1)
                    self._add_finding(
                        NewFinding(FindingKind.SAME_PICTURE, each.face_id, number=each.number),
                        each.number, 0,
                    )
            if not after:
                return

    # -- comparing --------------------------------------------------------------------

    def _compare(self, rows: FaceRows, same: float, apart: float, budget: TimeBudget) -> bool:
        """Compare a block of the batch with the rest; True when the time budget was spent
        before the end."""
        held = _face_set(rows)
        first = int(held.labels[0])
        if not self.progress.against or self.batch.options.reject_duplicates:
            self._check_names(rows, apart)
        screen = PairSearch(held, same)
        while True:
            more, last = self.config.candidates.gallery_faces(
                self.batch, self.progress.against, first
            )
            if not last:
                return False
            others = _face_set(more)
            for pairs in screen.pairs(others):
                self._keep_pairs(held, others, pairs)
            self._count_compared(held, others, last)
            if budget.spent:
                return True

    def _count_compared(self, held: FaceSet, others: FaceSet, last: int) -> None:
        """Count the pairs of two blocks as done."""
        earlier = np.searchsorted(held.labels, others.labels[others.from_batch])
        rest = len(held) * int(np.count_nonzero(~others.from_batch))
        compared = self.progress.compared + rest + int(earlier.sum())
        pairs = max(count_pairs(self.progress.faces, self.progress.rest), 1)
        self._advance(compared=compared, against=last, through=min(round(compared / pairs, 4), 1.0))

    def _keep_pairs(self, held: FaceSet, others: FaceSet, pairs: Pairs) -> None:
        """Keep the closest pair of two names, and of a face without a name; count all."""
        pairs = self._without_dismissed(held, others, pairs)
        a, b = held.names[pairs.rows], others.names[pairs.columns]
        nameless = (a == UNNAMED) | (b == UNNAMED)
        self._count(FindingKind.UNNAMED, int(np.count_nonzero(nameless)))
        self._count(FindingKind.TWO_NAMES, int(np.count_nonzero(~nameless)))
        if self.batch.options.reject_duplicates:
            self._choose_rejected(held, others, pairs, ~nameless)
        # One person may have very many photos: the closest pairs stand for all.
        closest = np.argsort(-pairs.cosines)[:MAX_LISTED]
        for place in closest.tolist():
            one, two = int(pairs.rows[place]), int(pairs.columns[place])
            mine, theirs = int(held.face_ids[one]), int(others.face_ids[two])
            kind = FindingKind.UNNAMED if nameless[place] else FindingKind.TWO_NAMES
            names = int(a[place]), int(b[place])
            key = (mine, 0) if nameless[place] else (min(names), max(names))
            self._add_finding(NewFinding(kind, mine, theirs, float(pairs.cosines[place])), *key)

    def _without_dismissed(self, held: FaceSet, others: FaceSet, pairs: Pairs) -> Pairs:
        """The pairs that operators have not said to be two people."""
        if not self.dismissed.names and not self.dismissed.pairs:
            return pairs
        names, faces = self._dismissed_names, self.dismissed.pairs
        kept = np.array([
            frozenset((one, two)) not in names and frozenset((mine, theirs)) not in faces
            for one, two, mine, theirs in zip(
                held.names[pairs.rows].tolist(), others.names[pairs.columns].tolist(),
                held.face_ids[pairs.rows].tolist(), others.face_ids[pairs.columns].tolist(),
                strict=True,
            )
        ], bool)
        return Pairs(pairs.rows[kept], pairs.columns[kept], pairs.cosines[kept])

    def _choose_rejected(
        self, held: FaceSet, others: FaceSet, pairs: Pairs, named: NDArray[np.bool_]
    ) -> None:
        """Choose the face of each pair that is to be refused: the one that does not belong
        to its name, else the one that came later; faces from before the batch stay."""
        one, two = pairs.rows[named], pairs.columns[named]
        mine, theirs = held.face_ids[one], others.face_ids[two]
        odd = np.array(sorted(self.odd), np.int64)
        mine_odd, theirs_odd = np.isin(mine, odd), np.isin(theirs, odd)
        after = others.from_batch[two] & (others.labels[two] > held.labels[one])
        chosen = np.where(mine_odd == theirs_odd, after, theirs_odd)
        self.refused.update(np.where(chosen, theirs, mine).tolist())

    def _count(self, kind: FindingKind, more: int) -> None:
        if more:
            self.progress.found[kind.value] = self.progress.found.get(kind.value, 0) + more

    def _add_finding(self, new: NewFinding, one: int, two: int) -> None:
        before = self.findings.get((new.kind, one, two))
        self.findings[new.kind, one, two] = new if before is None else _stronger(before, new)
        if len(self.findings) > MAX_FINDINGS:
            kept = sorted(self.findings.items(), key=lambda item: -_strength(item[1]))
            self.findings = dict(kept[:MAX_LISTED])

    # -- names --------------------------------------------------------------------------

    def _check_names(self, rows: FaceRows, apart: float) -> None:
        """Look at the names whose first face of the batch is in this block."""
        names = [name for name in rows.names if is_person_name(name)]
        here = set(rows.face_ids.tolist())
        for faces in self.config.candidates.faces_by_name(self.batch, names):
            own = np.flatnonzero(faces.from_batch)
            if len(own) and int(faces.face_ids[own[faces.labels[own].argmin()]]) in here:
                if len(faces) >= MAX_FACES_PER_NAME and not self.progress.against:
                    self._advance(cut_names=self.progress.cut_names + 1)
                self._check_name(_leading(faces), apart)

    def _check_name(self, faces: FaceRows, apart: float) -> None:
        if len(faces) < 2:
            return
        main, *others = group_faces(faces.vectors, apart)
        for group in others:
            if int(faces.face_ids[group.medoid]) in self.dismissed.members:
                continue
            self.odd.update(faces.face_ids[group.members].tolist())
            if self.progress.against:
                continue
            odd = len(group.members) == 1 and len(main.members) > 1
            kind = FindingKind.ODD_FACE if odd else FindingKind.TWO_PEOPLE
            face, other = int(faces.face_ids[group.medoid]), int(faces.face_ids[main.medoid])
            self._count(kind, 1)
            self._add_finding(
                NewFinding(kind, face, other, group.cosine, len(group.members)), face, 0
            )


def _face_set(rows: FaceRows) -> FaceSet:
    """Faces to compare. The name of a picture is that of its largest face."""
    names = name_numbers(rows.names.tolist())
    names[~_leads(rows)] = UNNAMED
    return FaceSet(
        rows.vectors, rows.labels, rows.face_ids, rows.image_refs, names, rows.from_batch
    )


def _leading(rows: FaceRows) -> FaceRows:
    """The largest face of each picture."""
    return select_rows(rows, np.flatnonzero(_leads(rows)))


def _leads(rows: FaceRows) -> NDArray[np.bool_]:
    """Which faces are the first of their picture. The faces of a picture follow each other,
    largest first."""
    leads = np.ones(len(rows), bool)
    leads[1:] = rows.image_refs[1:] != rows.image_refs[:-1]
    return leads


def _stronger(one: NewFinding, two: NewFinding) -> NewFinding:
    """The stronger of two findings, for both."""
    first = max(one, two, key=_strength)
    return NewFinding(
        first.kind, first.face_id, first.other_id, first.cosine, one.count + two.count,
        first.number,
    )


def _strength(found: NewFinding) -> float:
    return strength(found.kind, found.cosine)
