"""An index process killed at any moment: the next one has exactly the gallery's faces in
its view, and never one that was deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.snapshots import ORPHAN_AGE_S, delete_orphans
from pipeline.index.tenant_view import TenantView
from pipeline.index.vector_rows import VectorRows
from pipeline.media.directory import DirectoryStore
from tests.conftest import missing
from tests.faults.index_victim import HOOKS
from tests.index_source import MODEL, TENANT, FileGallery, unit_vectors
from tests.processes import start

ROUNDS = 10
NEVER = 10**9
ROOT = Path(__file__).resolve().parents[2]

# How often every life comes by each hook: the kill is drawn among these.
PASSES = {
    "add": 150, "delete": 15, "rebuild": 1, "upload": 10, "placed": 10, "record": 2, "swap": 2,
    "discard": 5,
}


@contextmanager
def victims(gallery: Path, media: Path, engine: str) -> Iterator[subprocess.Popen[str]]:
    """The process that forks index processes."""
    process = start(
        [sys.executable, "-m", "tests.faults.index_victim", gallery, media, engine],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        # no threads: it forks
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0


def kill_at(process: subprocess.Popen[str], hook: str, count: int) -> int:
    """The signal that ended an index process; 0 when it came to its end alive."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{hook} {count}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.mark.parametrize("engine", ["flat", "codes", "hnsw"])
@pytest.mark.parametrize("hook", list(HOOKS))
def test_a_killed_index_process_loses_and_revives_nothing(
    tmp_path: Path, hook: str, engine: str
) -> None:
    try:
        choice = EngineChoice(engine, short_list=100)  # type: ignore[arg-type]
        choice.build(VectorRows(MODEL.dimension))
    except ConfigurationError as error:
        missing(error.message)
    draw = np.random.default_rng(5)
    gallery, store = FileGallery(tmp_path / "gallery.db"), DirectoryStore(tmp_path / "media")
    options = ViewOptions(engine_choice=choice, canary_every=0, purge_after_s=1e-9)
    gallery.add(unit_vectors(300), [1])
    deleted: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    killed = 0
    with victims(tmp_path / "gallery.db", tmp_path / "media", engine) as process:
        assert kill_at(process, hook, NEVER) == 0  # and leaves a snapshot
        for turn in range(ROUNDS):
            gallery.add(unit_vectors(20, seed=100 + turn), [1])
            gone = draw.choice(gallery.labels(), 15, replace=False).tolist()
            deleted |= {each.label: each.vector for each in gallery.entries(TENANT, gone)}
            gallery.delete(gone)
            count = int(draw.integers(1, PASSES[hook] + 1))
            killed += kill_at(process, hook, count) == signal.SIGKILL

            view = TenantView(TENANT, gallery, store, options)
            view.open()

            assert view.labels().tolist() == gallery.labels()
            assert not view.verify()
            found = view.search(np.stack(list(deleted.values())), 5, {1})
            assert not {hit.label for hits in found for hit in hits} & deleted.keys()
    assert killed == ROUNDS

    view.maintain()
    now = max(each.modified for each in store.walk("")) + ORPHAN_AGE_S + 1
    delete_orphans(gallery, store, TENANT, now)
    kept = {record.media_key.rpartition("/")[0] for record in gallery.snapshots(TENANT)}
    left = list(store.walk(""))
    assert {each.key.rpartition("/")[0] for each in left} == kept
    objects = [store.get(each.key) for each in left]
    assert not any(
        vector.tobytes() in data for vector in deleted.values() for data in objects
    )
