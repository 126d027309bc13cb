"""Downloads and checks of packs, as every process sees them, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.deployment import pack_tasks
from pipeline.deployment.pack_tasks import (
    PackTaskKind,
    PackTasks,
    PackTaskState,
    carry_out,
)
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.errors import Conflict
from pipeline.sessions import catalogue
from tests.unit.sessions_release import ARCHIVE, FILES, Behaviour, release, serve

PACK = "buffalo_sc"


@pytest.fixture
def shim(engine: Engine) -> Iterator[str]:
    """The id of a running process."""
    beating = Heartbeat(engine, Role.SHIM)
    beating.beat()
    yield beating.id
    beating.close()


@pytest.fixture
def small_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.RELEASES, PACK, release(ARCHIVE))
    monkeypatch.setitem(catalogue.INSIGHTFACE, PACK, FILES)


@pytest.mark.usefixtures("small_pack")
def test_a_pack_is_pulled_and_verified(
    engine: Engine, shim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_tasks, "NOTE_EVERY_S", 0.0)
    tasks = PackTasks(engine)
    with serve(Behaviour(ARCHIVE)) as url:
        settings = Settings(models=str(tmp_path), models_url=url)
        tasks.begin(PACK, PackTaskKind.PULL, shim)
        with pytest.raises(Conflict):
            tasks.begin(PACK, PackTaskKind.VERIFY, shim)
        carry_out(tasks, settings, PACK, PackTaskKind.PULL)
    (task,) = tasks.all()
    assert (task.state, task.done, task.total) == (
        PackTaskState.DONE, len(ARCHIVE), len(ARCHIVE)
    )
    tasks.begin(PACK, PackTaskKind.VERIFY, shim)
    carry_out(tasks, settings, PACK, PackTaskKind.VERIFY)
    (task,) = tasks.all()
    assert (task.kind, task.state) == (PackTaskKind.VERIFY, PackTaskState.DONE)
    (tmp_path / PACK / FILES[0].name).write_bytes(b"damaged")
    tasks.begin(PACK, PackTaskKind.VERIFY, shim)
    carry_out(tasks, settings, PACK, PackTaskKind.VERIFY)
    (task,) = tasks.all()
    assert task.state is PackTaskState.FAILED
    assert FILES[0].name in task.detail


def test_a_download_that_fails_says_why(engine: Engine, shim: str, tmp_path: Path) -> None:
    tasks = PackTasks(engine)
    with serve(Behaviour(b"", statuses=[404])) as url:
        tasks.begin(PACK, PackTaskKind.PULL, shim)
        carry_out(
            tasks, Settings(models=str(tmp_path), models_url=url), PACK, PackTaskKind.PULL
        )
    (task,) = tasks.all()
    assert task.state is PackTaskState.FAILED
    assert "404" in task.detail


def test_the_task_of_a_process_that_died_can_be_begun_again(engine: Engine, shim: str) -> None:
    tasks = PackTasks(engine)
    tasks.begin(PACK, PackTaskKind.PULL, "dead")
    assert [each.state for each in tasks.all()] == [PackTaskState.INTERRUPTED]
    tasks.begin(PACK, PackTaskKind.PULL, shim)
    assert [each.state for each in tasks.all()] == [PackTaskState.RUNNING]
