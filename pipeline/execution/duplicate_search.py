"""Searching a batch that is done in itself: a job goes on with it for some seconds, keeps
what it has found, and leaves the rest to the next one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from pipeline.batches.duplicate_candidates import DuplicateSearchConfig, FaceRows, select_rows
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
from pipeline.batches.reject import reject_faces
from pipeline.duplicates.grouping import group_faces
from pipeline.duplicates.names import UNNAMED, is_person_name, name_number, name_numbers
from pipeline.duplicates.pairs import FaceSet, Pairs, PairSearch
from pipeline.duplicates.thresholds import count_pairs, thresholds_for
from pipeline.errors import TaskUnsupported
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


def finish_duplicate_search(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``PackMismatch``, ``DecryptionFailed``, ``DatabaseUnavailable``."""
    if tools.doubles is None:
        raise TaskUnsupported("this worker searches no batches")
    batch = tools.doubles.candidates.batch(job.params["batch"])
    search = None if batch is None else search_of(batch)
    if batch is None or search is None or not search.is_run_by(job):
        return JobOutcome({})
    sought = _DuplicateSearchRun(batch, search, tools, tools.doubles)
    sought.run()
    found = sought.findings()

    def effect(connection: Connection) -> JsonObject:
        now = time.time()
        writer = None
        if batch.options.reject_duplicates:
            # First: who changes a gallery waits for it before he waits for the batch.
            writer = lock_tenant(connection, job.tenant_id)
        there = lock_running_search(connection, job)
        if there is None:
            return {}
        after = sought.search
        if writer is not None:
            refused = reject_faces(writer, there[0], sorted(sought.refused), now)
            after = changed(
                after, refused=after.refused + refused.total(),
                enrolled=after.enrolled - refused[ItemState.ENROLLED],
                duplicate=after.duplicate - refused[ItemState.DUPLICATE],
            )
        kept = record_findings(connection, there[0], after, found, now)
        return {"through": kept.through, "found": kept.found}

    return JobOutcome({}, effect)


class TimeBudget:
    """Ends after so many seconds of this thread's processor time, on a busy machine after
    six times as many by the clock: each job begins with reading its block."""

    def __init__(self, seconds: float) -> None:
        self._worked = time.thread_time() + seconds
        self._waited = time.monotonic() + 6 * seconds

    @property
    def spent(self) -> bool:
        return time.thread_time() > self._worked or time.monotonic() > self._waited


@dataclass(slots=True)
class _DuplicateSearchRun:
    """One job's part of a search; ``search`` says how far it has come."""

    batch: Batch
    search: SearchProgress
    tools: Resources
    doubles: DuplicateSearchConfig
    met: dict[tuple[FindingKind, int, int], NewFinding] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Search until patience or the work is at its end."""
        patience = TimeBudget(self.doubles.time_slice_s)
        if not self.search.begun:
            self._begin()
        while self.search.state == "searching":
            if self.search.same is None or self.search.apart is None:
                self._end()
                return
            held, last = self.doubles.candidates.batch_faces(
                self.batch, self.search.held, BLOCK_FACES
            )
            if not last:
                self._end()
            elif not len(held):
                self._advance(held=last, against=0)
            elif self._compare(held, self.search.same, self.search.apart, patience):
                return
            else:
                self._advance(held=last, against=0)

    def findings(self) -> list[NewFinding]:
        """What was met, the strongest of each kind first."""
        return sorted(self.met.values(), key=lambda each: (each.kind, -_strength(each)))

    def _advance(self, **values: object) -> None:
        self.search = changed(self.search, **values)

    def _end(self) -> None:
        self._advance(state="done", through=1.0)

    # -- the beginning ----------------------------------------------------------------

    def _begin(self) -> None:
        """Count what is to be compared, and say from where on it counts."""
        self._add_repeated_images()
        extent = self.doubles.candidates.search_size(self.batch)
        self._advance(begun=True, faces=extent.batch_faces, rest=extent.other_faces)
        table = self.tools.calibration
        if not extent.batch_faces:
            return
        self.doubles.candidates.check_model(self.batch, model_of(self.tools.pack))
        if table is None:
            self._advance(reason="uncalibrated")
            return
        pairs = count_pairs(extent.batch_faces, extent.other_faces)
        limits = thresholds_for(
            pairs, table, self.doubles.false_findings, self.doubles.apart_fmr
        )
        self._advance(
            same=limits.same, same_fmr=limits.same_fmr, apart=limits.apart,
            apart_fmr=limits.apart_fmr, false_findings=limits.same_fmr * pairs,
        )

    def _add_repeated_images(self) -> None:
        """Pictures that came again under another name."""
        after = 0
        while True:
            some, after = self.doubles.candidates.repeated_images(self.batch, after)
            for each in some:
                if is_person_name(each.given_name) and name_number(each.given_name) != name_number(
                    each.enrolled_name
                ):
                    self._count(FindingKind.SAME_PICTURE, 1)
                    self._add_finding(
                        NewFinding(FindingKind.SAME_PICTURE, each.face_id, number=each.number),
                        each.number, 0,
                    )
            if not after:
                return

    # -- comparing --------------------------------------------------------------------

    def _compare(self, rows: FaceRows, same: float, apart: float, patience: TimeBudget) -> bool:
        """Compare a block of the batch with all that it is to be compared with; True when
        patience came to its end before."""
        held = _people(rows)
        first = int(held.labels[0])
        if not self.search.against or self.batch.options.reject_duplicates:
            self._check_names(rows, apart)
        screen = PairSearch(held, same)
        while True:
            more, last = self.doubles.candidates.gallery_faces(
                self.batch, self.search.against, first
            )
            if not last:
                return False
            others = _people(more)
            for pairs in screen.pairs(others):
                self._keep_pairs(held, others, pairs)
            self._compared(held, others, last)
            if patience.spent:
                return True

    def _compared(self, held: FaceSet, others: FaceSet, last: int) -> None:
        """Count the pairs of two portions as done."""
        earlier = np.searchsorted(held.labels, others.labels[others.from_batch])
        rest = len(held) * int(np.count_nonzero(~others.from_batch))
        compared = self.search.compared + rest + int(earlier.sum())
        pairs = max(count_pairs(self.search.faces, self.search.rest), 1)
        self._advance(
            compared=compared, against=last,
            through=min(round(compared / pairs, 4), 1.0),
        )

    def _keep_pairs(self, held: FaceSet, others: FaceSet, pairs: Pairs) -> None:
        """Of two names, and of a face without one, the closest pair; all are counted."""
        a, b = held.names[pairs.rows], others.names[pairs.columns]
        nameless = (a == UNNAMED) | (b == UNNAMED)
        self._count(FindingKind.UNNAMED, int(np.count_nonzero(nameless)))
        self._count(FindingKind.TWO_NAMES, int(np.count_nonzero(~nameless)))
        if self.batch.options.reject_duplicates:
            self._choose_rejected(held, others, pairs, ~nameless)
        # A crowd of one person: the closest pairs stand for all.
        closest = np.argsort(-pairs.cosines)[:MAX_LISTED]
        for place in closest.tolist():
            one, two = int(pairs.rows[place]), int(pairs.columns[place])
            mine, theirs = int(held.face_ids[one]), int(others.face_ids[two])
            kind = FindingKind.UNNAMED if nameless[place] else FindingKind.TWO_NAMES
            names = int(a[place]), int(b[place])
            key = (mine, 0) if nameless[place] else (min(names), max(names))
            self._add_finding(NewFinding(kind, mine, theirs, float(pairs.cosines[place])), *key)

    def _choose_rejected(
        self, held: FaceSet, others: FaceSet, pairs: Pairs, named: NDArray[np.bool_]
    ) -> None:
        """Choose the face of each pair that is to be refused: the one that does not belong
        to its name, else the one that came later; what was there before the batch stays."""
        one, two = pairs.rows[named], pairs.columns[named]
        mine, theirs = held.face_ids[one], others.face_ids[two]
        odd = np.array(sorted(self.odd), np.int64)
        mine_odd, theirs_odd = np.isin(mine, odd), np.isin(theirs, odd)
        after = others.from_batch[two] & (others.labels[two] > held.labels[one])
        chosen = np.where(mine_odd == theirs_odd, after, theirs_odd)
        self.refused.update(np.where(chosen, theirs, mine).tolist())

    def _count(self, kind: FindingKind, more: int) -> None:
        if more:
            self.search.found[kind.value] = self.search.found.get(kind.value, 0) + more

    def _add_finding(self, new: NewFinding, one: int, two: int) -> None:
        before = self.met.get((new.kind, one, two))
        self.met[new.kind, one, two] = new if before is None else _stronger(before, new)
        if len(self.met) > MAX_FINDINGS:
            kept = sorted(self.met.items(), key=lambda item: -_strength(item[1]))
            self.met = dict(kept[:MAX_LISTED])

    # -- names --------------------------------------------------------------------------

    def _check_names(self, rows: FaceRows, apart: float) -> None:
        """Look at the names whose first face of the batch is in this block."""
        names = [name for name in rows.names if is_person_name(name)]
        here = set(rows.face_ids.tolist())
        for faces in self.doubles.candidates.faces_by_name(self.batch, names):
            own = np.flatnonzero(faces.from_batch)
            if len(own) and int(faces.face_ids[own[faces.labels[own].argmin()]]) in here:
                self._check_name(_leading(faces), apart)

    def _check_name(self, faces: FaceRows, apart: float) -> None:
        if len(faces) < 2:
            return
        main, *others = group_faces(faces.vectors, apart)
        for group in others:
            self.odd.update(faces.face_ids[group.members].tolist())
            if self.search.against:
                continue
            odd = len(group.members) == 1 and len(main.members) > 1
            kind = FindingKind.ODD_FACE if odd else FindingKind.TWO_PEOPLE
            face, other = int(faces.face_ids[group.medoid]), int(faces.face_ids[main.medoid])
            self._count(kind, 1)
            self._add_finding(
                NewFinding(kind, face, other, group.cosine, len(group.members)), face, 0
            )


def _people(rows: FaceRows) -> FaceSet:
    """Faces to compare. The name of a picture is that of its largest face."""
    names = name_numbers(rows.names)
    names[~_leads(rows)] = UNNAMED
    return FaceSet(
        rows.vectors, rows.labels, rows.face_ids, rows.image_refs, names, rows.from_batch
    )


def _leading(rows: FaceRows) -> FaceRows:
    """The largest face of each picture."""
    return select_rows(rows, np.flatnonzero(_leads(rows)))


def _leads(rows: FaceRows) -> NDArray[np.bool_]:
    """Which faces are the first of their picture: enrolled together, largest first, they
    stand together."""
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
