"""Searching a batch that is done in itself: a job goes on with it for some seconds, keeps
what it has found, and leaves the rest to the next one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from pipeline.batches.comparison import DoublesSearch, FaceRows, chosen
from pipeline.batches.findings import (
    MOST_LISTED,
    Kind,
    NewFinding,
    Search,
    changed,
    going,
    record,
    search_of,
    strength,
)
from pipeline.batches.model import Batch, ItemState
from pipeline.batches.refusing import refuse
from pipeline.doubles.names import UNKNOWN, name_number, name_numbers, says_who
from pipeline.doubles.nearby import Pairs, People, Screen
from pipeline.doubles.thresholds import pairs_in, thresholds_for
from pipeline.doubles.together import groups_of
from pipeline.errors import TaskUnsupported
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.outcomes import model_of
from pipeline.gallery.changes import take
from pipeline.jobs.model import Job, JsonObject

HELD = 32_768
"""Faces of the batch that are held at a time: 64 MB of 512 numbers. Everything else is read
once for each such block."""

MOST_MET = 50_000
"""Findings that a job keeps in memory; the weakest go when there are more."""


def conclude_doubles(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """Raises ``PackMismatch``, ``SealBroken``, ``DatabaseUnavailable``."""
    if tools.doubles is None:
        raise TaskUnsupported("this worker searches no batches")
    batch = tools.doubles.comparison.batch(job.params["batch"])
    search = None if batch is None else search_of(batch)
    if batch is None or search is None or not search.goes_on_by(job):
        return Conclusion({})
    sought = _Hunt(batch, search, tools, tools.doubles)
    sought.run()
    found = sought.findings()

    def effect(connection: Connection) -> JsonObject:
        now = time.time()
        writer = None
        if batch.options.refuse_doubles:
            # First: who changes a gallery waits for it before he waits for the batch.
            writer = take(connection, job.tenant_id)
        there = going(connection, job)
        if there is None:
            return {}
        after = sought.search
        if writer is not None:
            refused = refuse(writer, there[0], sorted(sought.refused), now)
            after = changed(
                after, refused=after.refused + refused.total(),
                enrolled=after.enrolled - refused[ItemState.ENROLLED],
                duplicate=after.duplicate - refused[ItemState.DUPLICATE],
            )
        kept = record(connection, there[0], after, found, now)
        return {"through": kept.through, "found": kept.found}

    return Conclusion({}, effect)


class Patience:
    """Ends after so many seconds of this thread's processor time, on a busy machine after
    six times as many by the clock: each job begins with reading its block."""

    def __init__(self, seconds: float) -> None:
        self._worked = time.thread_time() + seconds
        self._waited = time.monotonic() + 6 * seconds

    @property
    def ended(self) -> bool:
        return time.thread_time() > self._worked or time.monotonic() > self._waited


@dataclass(slots=True)
class _Hunt:
    """One job's part of a search; ``search`` says how far it has come."""

    batch: Batch
    search: Search
    tools: Toolbox
    doubles: DoublesSearch
    met: dict[tuple[Kind, int, int], NewFinding] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Search until patience or the work is at its end."""
        patience = Patience(self.doubles.patience_s)
        if not self.search.begun:
            self._begin()
        while self.search.state == "searching":
            if self.search.same is None or self.search.apart is None:
                self._end()
                return
            held, last = self.doubles.comparison.own(self.batch, self.search.held, HELD)
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
        self._meet_again()
        extent = self.doubles.comparison.extent(self.batch)
        self._advance(begun=True, faces=extent.faces, rest=extent.rest)
        table = self.tools.calibration
        if not extent.faces:
            return
        self.doubles.comparison.check_model(self.batch, model_of(self.tools.pack))
        if table is None:
            self._advance(reason="uncalibrated")
            return
        pairs = pairs_in(extent.faces, extent.rest)
        limits = thresholds_for(
            pairs, table, self.doubles.false_findings, self.doubles.apart_fmr
        )
        self._advance(
            same=limits.same, same_fmr=limits.same_fmr, apart=limits.apart,
            apart_fmr=limits.apart_fmr, false_findings=limits.same_fmr * pairs,
        )

    def _meet_again(self) -> None:
        """Pictures that came again under another name."""
        after = 0
        while True:
            some, after = self.doubles.comparison.again(self.batch, after)
            for each in some:
                if says_who(each.given) and name_number(each.given) != name_number(each.name):
                    self._count(Kind.SAME_PICTURE, 1)
                    self._met(
                        NewFinding(Kind.SAME_PICTURE, each.face_id, number=each.number),
                        each.number, 0,
                    )
            if not after:
                return

    # -- comparing --------------------------------------------------------------------

    def _compare(self, rows: FaceRows, same: float, apart: float, patience: Patience) -> bool:
        """Compare a block of the batch with all that it is to be compared with; True when
        patience came to its end before."""
        held = _people(rows)
        first = int(held.labels[0])
        if not self.search.against or self.batch.options.refuse_doubles:
            self._look_at_names(rows, apart)
        screen = Screen(held, same)
        while True:
            more, last = self.doubles.comparison.others(self.batch, self.search.against, first)
            if not last:
                return False
            others = _people(more)
            for pairs in screen.pairs(others):
                self._keep_pairs(held, others, pairs)
            self._compared(held, others, last)
            if patience.ended:
                return True

    def _compared(self, held: People, others: People, last: int) -> None:
        """Count the pairs of two portions as done."""
        earlier = np.searchsorted(held.labels, others.labels[others.fresh])
        rest = len(held) * int(np.count_nonzero(~others.fresh))
        compared = self.search.compared + rest + int(earlier.sum())
        pairs = max(pairs_in(self.search.faces, self.search.rest), 1)
        self._advance(
            compared=compared, against=last,
            through=min(round(compared / pairs, 4), 1.0),
        )

    def _keep_pairs(self, held: People, others: People, pairs: Pairs) -> None:
        """Of two names, and of a face without one, the closest pair; all are counted."""
        a, b = held.names[pairs.held], others.names[pairs.other]
        nameless = (a == UNKNOWN) | (b == UNKNOWN)
        self._count(Kind.UNNAMED, int(np.count_nonzero(nameless)))
        self._count(Kind.TWO_NAMES, int(np.count_nonzero(~nameless)))
        if self.batch.options.refuse_doubles:
            self._choose(held, others, pairs, ~nameless)
        # A crowd of one person: the closest pairs stand for all.
        closest = np.argsort(-pairs.cosines)[:MOST_LISTED]
        for place in closest.tolist():
            one, two = int(pairs.held[place]), int(pairs.other[place])
            mine, theirs = int(held.faces[one]), int(others.faces[two])
            kind = Kind.UNNAMED if nameless[place] else Kind.TWO_NAMES
            names = int(a[place]), int(b[place])
            key = (mine, 0) if nameless[place] else (min(names), max(names))
            self._met(NewFinding(kind, mine, theirs, float(pairs.cosines[place])), *key)

    def _choose(
        self, held: People, others: People, pairs: Pairs, named: NDArray[np.bool_]
    ) -> None:
        """Choose the face of each pair that is to be refused: the one that does not belong
        to its name, else the one that came later; what was there before the batch stays."""
        one, two = pairs.held[named], pairs.other[named]
        mine, theirs = held.faces[one], others.faces[two]
        odd = np.array(sorted(self.odd), np.int64)
        mine_odd, theirs_odd = np.isin(mine, odd), np.isin(theirs, odd)
        after = others.fresh[two] & (others.labels[two] > held.labels[one])
        chosen = np.where(mine_odd == theirs_odd, after, theirs_odd)
        self.refused.update(np.where(chosen, theirs, mine).tolist())

    def _count(self, kind: Kind, more: int) -> None:
        if more:
            self.search.found[kind.value] = self.search.found.get(kind.value, 0) + more

    def _met(self, new: NewFinding, one: int, two: int) -> None:
        before = self.met.get((new.kind, one, two))
        self.met[new.kind, one, two] = new if before is None else _stronger(before, new)
        if len(self.met) > MOST_MET:
            kept = sorted(self.met.items(), key=lambda item: -_strength(item[1]))
            self.met = dict(kept[:MOST_LISTED])

    # -- names --------------------------------------------------------------------------

    def _look_at_names(self, rows: FaceRows, apart: float) -> None:
        """Look at the names whose first face of the batch is in this block."""
        names = [name for name in rows.names if says_who(name)]
        here = set(rows.faces.tolist())
        for faces in self.doubles.comparison.named(self.batch, names):
            own = np.flatnonzero(faces.fresh)
            if len(own) and int(faces.faces[own[faces.labels[own].argmin()]]) in here:
                self._look_at_name(_leading(faces), apart)

    def _look_at_name(self, faces: FaceRows, apart: float) -> None:
        if len(faces) < 2:
            return
        main, *others = groups_of(faces.vectors, apart)
        for group in others:
            self.odd.update(faces.faces[group.members].tolist())
            if self.search.against:
                continue
            odd = len(group.members) == 1 and len(main.members) > 1
            kind = Kind.ODD_FACE if odd else Kind.TWO_PEOPLE
            face, other = int(faces.faces[group.middle]), int(faces.faces[main.middle])
            self._count(kind, 1)
            self._met(NewFinding(kind, face, other, group.cosine, len(group.members)), face, 0)


def _people(rows: FaceRows) -> People:
    """Faces to compare. The name of a picture is that of its largest face."""
    names = name_numbers(rows.names)
    names[~_leads(rows)] = UNKNOWN
    return People(rows.vectors, rows.labels, rows.faces, rows.pictures, names, rows.fresh)


def _leading(rows: FaceRows) -> FaceRows:
    """The largest face of each picture."""
    return chosen(rows, np.flatnonzero(_leads(rows)))


def _leads(rows: FaceRows) -> NDArray[np.bool_]:
    """Which faces are the first of their picture: enrolled together, largest first, they
    stand together."""
    leads = np.ones(len(rows), bool)
    leads[1:] = rows.pictures[1:] != rows.pictures[:-1]
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
