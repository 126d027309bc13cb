"""``faceline probe`` against real processes, which say that their loops turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.deployment.heartbeat_file import BEAT_EVERY_S, QUIET_S, LastBeat, read_heartbeat
from pipeline.errors import ConfigurationError
from tests.cluster import Cluster, Process, open_cluster
from tests.conftest import models_directory
from tests.parallel import free_port
from tests.servers import RedisServer
from tests.waiting import eventually


@pytest.fixture
def cluster(tmp_path: Path, redis_server: RedisServer) -> Iterator[Cluster]:
    with open_cluster(
        tmp_path, redis_server.url, models_directory(), port=free_port()
    ) as cluster:
        yield cluster


def beat_of(cluster: Cluster, role: str) -> LastBeat | None:
    try:
        return read_heartbeat(str(cluster.folder / role))
    except ConfigurationError:
        return None


def fault_of(cluster: Cluster, role: str, *, ready: bool = True) -> str:
    found = beat_of(cluster, role)
    return "no file" if found is None else found.fault(role, ready=ready)


def probed(cluster: Cluster, role: str, *options: str) -> tuple[int, str]:
    """The exit code of ``faceline probe`` and what it prints."""
    chosen = cluster.environment({"heartbeat_file": str(cluster.folder / role)})
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "probe", role, *options],
        env={**os.environ, **chosen}, capture_output=True, text=True, check=False, timeout=120,
    )
    return done.returncode, done.stderr


def test_every_role(cluster: Cluster) -> None:
    starts: dict[str, Callable[..., Process]] = {
        "worker": cluster.worker, "index": cluster.index, "upkeep": cluster.upkeep,
    }
    with ExitStack() as running:
        processes = {
            role: running.enter_context(start(heartbeat_file=str(cluster.folder / role)))
            for role, start in starts.items()
        }
        shim = running.enter_context(cluster.shim())
        eventually(lambda: not any(fault_of(cluster, role) for role in starts), "all are ready")
        eventually(lambda: probed(cluster, "shim", "--ready")[0] == 0, "the shim is ready")
        assert probed(cluster, "worker", "--ready") == (0, "")
        assert probed(cluster, "shim") == (0, "")
        index = beat_of(cluster, "index")
        assert index is not None
        assert "role index" in index.fault("worker")

        first = {role: beat_of(cluster, role) for role in starts}
        eventually(
            lambda: all(later(beat_of(cluster, role), first[role]) for role in starts),
            "they beat on",
        )

        processes["index"].kill()
        assert "has ended" in fault_of(cluster, "index", ready=False)
        assert processes["worker"].stop() == 0
        assert processes["upkeep"].stop() == 0
        assert not (cluster.folder / "worker").exists()
        assert not (cluster.folder / "upkeep").exists()
        shim.stop()
        code, said = probed(cluster, "shim")
        assert (code, "no answer" in said) == (1, True)
        assert probed(cluster, "worker")[0] == 1


def later(beat: LastBeat | None, than: LastBeat | None) -> bool:
    return beat is not None and than is not None and beat.until > than.until


def test_a_worker_without_its_broker_is_alive_and_takes_nothing(
    cluster: Cluster, redis_server: RedisServer
) -> None:
    """Killing it would not bring the broker back."""
    with cluster.worker(heartbeat_file=str(cluster.folder / "worker"), concurrency=1):
        eventually(lambda: fault_of(cluster, "worker") == "", "it is ready")
        redis_server.kill()
        eventually(lambda: "takes no work" in fault_of(cluster, "worker"), "it takes no work")
        silent = beat_of(cluster, "worker")
        eventually(lambda: later(beat_of(cluster, "worker"), silent), "it beats on")
        assert fault_of(cluster, "worker", ready=False) == ""
        redis_server.start()
        eventually(lambda: fault_of(cluster, "worker") == "", "it is ready again")


def test_a_loop_that_hangs_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    beat = LastBeat("worker", os.getpid(), ready=True, until=1000.0)
    monkeypatch.setattr("time.monotonic", lambda: 999.0)
    assert beat.fault("worker", ready=True) == ""
    monkeypatch.setattr("time.monotonic", lambda: 1003.0)
    assert "silent for 3 s" in beat.fault("worker")
    assert BEAT_EVERY_S < QUIET_S / 4


def test_files_that_say_nothing(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", "no json"):
        (tmp_path / "file").write_text(content)
        with pytest.raises(ConfigurationError, match="no heartbeat file"):
            read_heartbeat(str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="No such file"):
        read_heartbeat(str(tmp_path / "none"))
