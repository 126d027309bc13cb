"""A service with workers for whole sources, `faceline enroll` beside it, and the invariants.

    with Harness(folder) as harness:
        harness.start_bulk()
        harness.enrol(source).wait()
        check_gallery(harness, harness.batch(), truth)
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from pipeline import storage_keys
from pipeline.database.engine import reading
from pipeline.database.schema import (
    batch_items,
    batches,
    changes,
    discarded,
    faces,
    images,
    refused_pictures,
    vectors,
)
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.gallery.trash import Trash
from tests.bulk_photos import Kind, Made
from tests.cluster import Process
from tests.processes import start
from tests.stack import Stack

STATES = ("waiting", "enrolled", "duplicate", "rejected", "cancelled")
OUTCOMES = STATES[1:]

# The outcome of each kind of file: (state, reason).
EXPECTED = {
    Kind.PHOTO: ("enrolled", ""), Kind.COMPANY: ("enrolled", ""), Kind.RENAMED: ("enrolled", ""),
    Kind.MISNAMED: ("enrolled", ""), Kind.COPY: ("duplicate", "same_picture"),
    Kind.NO_FACE: ("rejected", "no_face"), Kind.TEXT: ("rejected", "not_a_picture"),
    Kind.EMPTY: ("rejected", "empty"), Kind.CUT: ("rejected", "picture_corrupt"),
}

ENROL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of a run: ``counts`` of the batch's row, ``rows`` counted item by item,
    megabytes (unique and shared alike) and processor seconds by part of the service."""

    at: float
    counts: Mapping[str, int]
    rows: Mapping[str, int]
    rss_mb: Mapping[str, float]
    cpu_s: Mapping[str, float]

    @property
    def ended(self) -> int:
        return sum(self.counts[state] for state in OUTCOMES)


@dataclass(slots=True)
class Enrolment:
    """`faceline enroll` as a process."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        """End the process, unless it has ended."""
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def wait(self, within_s: float = ENROL_S) -> dict[str, Any]:
        """Waits for a successful end; the JSON that it printed."""
        out, _ = self.process.communicate(timeout=within_s)
        assert self.process.returncode == 0, (self.process.returncode, self.log.read_text()[-3000:])
        found: dict[str, Any] = json.loads(out)
        return found


@dataclass(slots=True)
class Harness:
    """A ``Stack`` with named parts: bulk, upkeep, shim, index, redis, cli."""

    stack: Stack
    parts: dict[str, Process] = field(default_factory=dict)
    cli: Enrolment | None = None
    _begun: list[Enrolment] = field(default_factory=list)

    def start_bulk(self, concurrency: int = 2, **settings: Any) -> Process:
        self.parts["bulk"] = self.stack.cluster.worker(
            stages="bulk", concurrency=concurrency, **settings
        )
        return self.parts["bulk"]

    def start_upkeep(self) -> Process:
        self.parts["upkeep"] = self.stack.cluster.upkeep()
        return self.parts["upkeep"]

    def start_index(self) -> Process:
        self.parts["index"] = self.stack.cluster.index()
        return self.parts["index"]

    def start_shim(self) -> Process:
        self.parts["shim"] = self.stack.cluster.shim()
        self.stack.shim = self.parts["shim"]
        self.stack.wait_for_shim()
        return self.parts["shim"]

    def start_workers(self, concurrency: int = 2) -> Process:
        """Start the workers of interactive requests."""
        self.parts["worker"] = self.stack.cluster.worker(concurrency=concurrency)
        return self.parts["worker"]

    def enrol(
        self, source: Path | str, *arguments: str, tenant: str = "stack",
        prepare: Callable[[], None] | None = None,
    ) -> Enrolment:
        """`faceline enroll SOURCE`, begun."""
        log = self.stack.cluster.folder / f"cli-{len(self._begun) + 1:02d}.log"
        with log.open("wb") as errors:
            process = start(
                [sys.executable, "-m", "infra.cli", "enroll", str(source), "--tenant", tenant,
                 "--json", *arguments],
                env={**os.environ, **self.stack.cluster.environment()}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=prepare,
            )
        self.cli = Enrolment(process, log)
        self._begun.append(self.cli)
        return self.cli

    # -- looking ------------------------------------------------------------------

    def batch(self, tenant_id: int | None = None) -> str:
        """The id of a tenant's newest batch; empty before there is one."""
        wanted = self.stack.credentials.tenant_id if tenant_id is None else tenant_id
        with reading(self.stack.cluster.engine) as connection:
            found = connection.execute(
                select(batches.c.id).where(batches.c.tenant_id == wanted)
                .order_by(batches.c.created_at.desc())
            ).scalars().first()
        return found or ""

    def sample(self, batch: str) -> Sample:
        counts, rows = self.counts(batch)
        rss, cpu = {}, {}
        for name, pid in self.pids().items():
            rss[name], cpu[name] = usage(pid)
        return Sample(time.monotonic(), counts, rows, rss, cpu)

    def counts(self, batch: str) -> tuple[dict[str, int], dict[str, int]]:
        """(the counts of the batch's row, its items counted one by one), in one read."""
        with reading(self.stack.cluster.engine) as connection:
            row = connection.execute(
                select(batches.c["items"], *(batches.c[name] for name in STATES))
                .where(batches.c.id == batch)
            ).one_or_none()
            found = connection.execute(
                select(batch_items.c.state, func.count())
                .where(batch_items.c.batch_id == batch).group_by(batch_items.c.state)
            ).all()
        rows = Counter[str]()
        for state, count in found:
            rows["waiting" if state == "again" else state] += count
        counts = dict(zip(("items", *STATES), row or [0] * 6, strict=True))
        return counts, {"items": rows.total(), **{name: rows[name] for name in STATES}}

    def pids(self) -> dict[str, int]:
        found = {name: part.pid for name, part in self.parts.items() if part.alive}
        with contextlib.suppress(AssertionError):  # it was killed
            found["redis"] = self.stack.redis.pid
        if self.cli is not None and self.cli.running:
            found["cli"] = self.cli.pid
        return found

    def close(self) -> None:
        for cli in self._begun:
            cli.kill()
        for part in self.parts.values():
            part.kill()


@contextlib.contextmanager
def open_harness(folder: Path, models: Path | None = None, **settings: object) -> Iterator[Harness]:
    """A harness of which nothing but Redis runs yet."""
    folder.mkdir(parents=True, exist_ok=True)
    with Stack(folder, models, **settings) as stack:
        harness = Harness(stack)
        try:
            yield harness
        finally:
            harness.close()


def usage(pid: int) -> tuple[float, float]:
    """(megabytes, processor seconds) of a process and those that it has started."""
    memory = processor = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += process.memory_info().rss / 1e6
                times = process.cpu_times()
                processor += times.user + times.system
    return memory, processor


# Invariants ----------------------------------------------------------------


def check_progress(samples: Sequence[Sample]) -> None:
    """In every sample the counts equal the rows and add up, and no count decreases."""
    for sample in samples:
        assert sample.counts == sample.rows, sample
        assert sample.counts["items"] == sum(sample.counts[state] for state in STATES), sample
    for earlier, later in itertools.pairwise(samples):
        for name in ("items", *OUTCOMES):
            assert earlier.counts[name] <= later.counts[name], (name, earlier, later)


def wrong_outcomes(
    harness: Harness, batch: str, truth: Sequence[Made]
) -> list[tuple[str, str, str]]:
    """(name, kind, outcome) of every file with another outcome than its kind has. Fails
    where an item has no file or a file no item."""
    with reading(harness.stack.cluster.engine) as connection:
        rows = connection.execute(
            select(batch_items.c.source_name, batch_items.c.state, batch_items.c.reason)
            .where(batch_items.c.batch_id == batch)
        ).all()
    found = {name: (state, reason or "") for name, state, reason in rows}
    assert len(found) == len(rows), "two items of one name"
    assert set(found) == {made.name for made in truth}
    return [
        (made.name, made.kind, "{} {}".format(*found[made.name])) for made in truth
        if found[made.name] != EXPECTED[made.kind]
    ]


def check_gallery(harness: Harness, batch: str, tenant_id: int | None = None) -> dict[str, int]:
    """Every item has ended, each enrolled picture has one record of every kind and its
    objects, there are no duplicates and no leftovers; the counts."""
    tenant = harness.stack.credentials.tenant_id if tenant_id is None else tenant_id
    counts, rows = harness.counts(batch)
    assert counts == rows
    assert counts["waiting"] == 0
    assert counts["items"] == sum(counts[state] for state in OUTCOMES)
    cluster = harness.stack.cluster
    Trash(cluster.engine, cluster.media).empty()
    with reading(cluster.engine) as connection:
        owned = connection.execute(
            select(images.c.id, images.c.sha256, images.c.media_key)
            .where(images.c.tenant_id == tenant)
        ).all()
        enrolled = list(connection.execute(
            select(batch_items.c.image_ref).where(
                batch_items.c.batch_id == batch, batch_items.c.state == "enrolled"
            )
        ).scalars())
        cutouts = list(connection.execute(
            select(faces.c.face_key).where(faces.c.tenant_id == tenant)
        ).scalars())
        pictures = list(connection.execute(
            select(refused_pictures.c.media_key).where(refused_pictures.c.tenant_id == tenant)
        ).scalars())
        labels = connection.execute(
            select(func.count()).select_from(vectors).where(vectors.c.tenant_id == tenant)
        ).scalar_one()
        numbers = list(connection.execute(
            select(changes.c.number).where(changes.c.tenant_id == tenant)
        ).scalars())
        assert connection.execute(select(discarded)).all() == []
    assert sorted(enrolled) == sorted(row.id for row in owned), "an image of no item, or of two"
    assert len({row.sha256 for row in owned}) == len(owned), "a picture twice"
    assert len(cutouts) == labels == len(owned), "a picture without its one face"
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "the log has a gap"
    named = {*cutouts, *pictures, *(row.media_key for row in owned)}
    assert len(named) == len(cutouts) + len(pictures) + len(owned), "an object of two rows"
    _check_objects(harness, tenant, named)
    return counts


def _check_objects(harness: Harness, tenant: int, named: set[str]) -> None:
    """The sweep deletes what killed processes left behind, and nothing else."""
    cluster = harness.stack.cluster

    def kept() -> set[str]:
        found = {item.key for item in cluster.media.walk(storage_keys.tenant_prefix(tenant))}
        return {key for key in found if not key.startswith(storage_keys.transient_prefix(tenant))}

    assert kept() >= named, "an object is missing"
    later = OrphanSweep(cluster.engine, cluster.media, lambda: 2 * GRACE_S + 10**12)
    assert later.run(tenant).missing == ()
    assert kept() == named
