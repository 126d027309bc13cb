from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import (
    DecoderUnavailable,
    FaceError,
    MediaTooLarge,
    NotAPicture,
    PictureCorrupt,
)
from pipeline.sandbox import processes
from pipeline.sandbox.decoder import DecoderRules
from pipeline.sandbox.processes import ForkServer
from pipeline.sandbox.sandbox import (
    GROWTH_BYTES,
    TASKS,
    Sandbox,
    SandboxLimits,
    open_fork_server,
    open_sandbox,
)
from tests.unit import sandbox_works
from tests.waiting import eventually

MB = 1024 * 1024
BOUNDS = SandboxLimits(input_bytes=MB, output_bytes=40 * MB, memory_bytes=64 * MB, seconds=60.0)
WORKS = tuple(
    f"{sandbox_works.__name__}:{name}"
    for name in (
        "echo", "tell_process", "crash", "crash_if_used", "hang", "leave", "eat", "overflow",
        "chatter", "refuse", "fail", "escape", "surroundings",
    )
)


def work(name: str) -> str:
    return f"{sandbox_works.__name__}:{name}"


def pid_of(sandbox: Sandbox) -> int:
    """The decoder's process number."""
    pid = int(sandbox.run(work("tell_process"), b"", {}, output_bytes=0).metadata["pid"])
    assert pid > 1  # some tests kill it
    return pid


def fork_server_of(pid: int) -> int:
    fork_server = psutil.Process(pid).ppid()
    assert fork_server > 1
    assert "pipeline.sandbox.fork_server" in psutil.Process(fork_server).cmdline()
    return fork_server


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    eventually(lambda: is_gone(pid), "a process goes with its worker")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(WORKS, BOUNDS) as sandbox:
        yield sandbox


def test_bytes_in_and_arrays_out(sandbox: Sandbox) -> None:
    data = np.random.default_rng(1).bytes(MB)
    made = sandbox.run(work("echo"), data, {"a": [1, "b"]}, output_bytes=2 * MB)
    flat, grid, nothing = made.arrays
    assert flat.tobytes() == data
    np.testing.assert_array_equal(grid, np.arange(12).reshape(3, 4).T)
    assert (grid.dtype.name, nothing.dtype.name, nothing.shape) == ("float32", "int64", (0, 3))
    assert made.metadata == {"options": {"a": [1, "b"]}}


def test_arrays_are_copies(sandbox: Sandbox) -> None:
    first = next(iter(sandbox.run(work("echo"), b"one", {}, output_bytes=1_000).arrays))
    sandbox.run(work("echo"), b"two", {}, output_bytes=1_000)
    assert first.tobytes() == b"one"


def test_borrowed_arrays_are_there_until_the_next_task(sandbox: Sandbox) -> None:
    made = sandbox.run(work("echo"), b"first", {}, output_bytes=MB, borrow=True)
    (flat, grid, _) = made.arrays
    assert (bytes(flat), grid.shape) == (b"first", (4, 3))

    sandbox.run(work("echo"), b"other", {}, output_bytes=MB)

    assert bytes(flat) == b"other"


def test_one_decoder_serves_many(sandbox: Sandbox) -> None:
    assert pid_of(sandbox) == pid_of(sandbox) != os.getpid()


def test_a_refusal_comes_through(sandbox: Sandbox) -> None:
    pid = pid_of(sandbox)
    with pytest.raises(NotAPicture, match="Not today"):
        sandbox.run(work("refuse"), b"", {}, output_bytes=0)
    assert pid_of(sandbox) == pid


def test_a_fault_of_ours_is_one(sandbox: Sandbox) -> None:
    with pytest.raises(FaceError) as caught:
        sandbox.run(work("fail"), b"", {}, output_bytes=0)
    assert caught.value.code == "internal"


@pytest.mark.parametrize("how", ["crash", "leave"])
def test_a_crash_costs_one_task(sandbox: Sandbox, how: str) -> None:
    pid = pid_of(sandbox)
    with pytest.raises(PictureCorrupt, match="Decoding failed"):
        sandbox.run(work(how), b"", {}, output_bytes=0)
    assert pid_of(sandbox) not in (pid, os.getpid())


def test_who_is_killed_by_another_s_damage_gets_a_second_try(sandbox: Sandbox) -> None:
    for _ in range(3):
        assert sandbox.run(work("crash_if_used"), b"", {}, output_bytes=0).metadata == {"seen": 1}


def test_the_caller_says_whose_fault_it_is(sandbox: Sandbox) -> None:
    with pytest.raises(MediaTooLarge):
        sandbox.run(work("crash"), b"", {}, output_bytes=0, failure=MediaTooLarge)


def test_a_hang_is_ended(sandbox: Sandbox) -> None:
    with pytest.raises(PictureCorrupt, match="took too long"):
        sandbox.run(work("hang"), b"", {}, output_bytes=0, seconds=0.1)
    assert pid_of(sandbox)


def test_memory_is_bounded(sandbox: Sandbox) -> None:
    made = sandbox.run(work("eat"), b"", {"bytes": 30 * MB}, output_bytes=30 * MB)
    assert sum(array.nbytes for array in made.arrays) == 30 * MB
    with pytest.raises(PictureCorrupt, match="more memory"):
        sandbox.run(work("eat"), b"", {"bytes": 100 * MB}, output_bytes=30 * MB)


def test_who_has_grown_is_replaced() -> None:
    bounds = SandboxLimits(
        input_bytes=MB, output_bytes=300 * MB, memory_bytes=512 * MB, seconds=60.0
    )
    with Sandbox(WORKS, bounds) as sandbox:
        pid = pid_of(sandbox)
        sandbox.run(work("eat"), b"", {"bytes": 300 * MB}, output_bytes=300 * MB)
        assert pid_of(sandbox) != pid
        # The arena has given back the memory that only that one needed.
        assert psutil.Process(pid_of(sandbox)).memory_info().rss < 150 * MB


def test_room_is_bounded(sandbox: Sandbox) -> None:
    for name in ("overflow", "chatter"):
        with pytest.raises(PictureCorrupt, match="more than its header"):
            sandbox.run(work(name), b"", {}, output_bytes=5_000)
    with pytest.raises(PictureCorrupt, match="larger than a decoder accepts"):
        sandbox.run(work("echo"), bytes(MB + 1), {}, output_bytes=0)
    with pytest.raises(PictureCorrupt, match="larger than a decoder accepts"):
        sandbox.run(work("echo"), b"", {}, output_bytes=41 * MB)


def test_decoders_are_replaced_in_time() -> None:
    with Sandbox(WORKS, BOUNDS, tasks=3) as sandbox:
        pids = [pid_of(sandbox) for _ in range(9)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


@pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="no filter of system calls here"
)
def test_nothing_outside_is_within_reach(sandbox: Sandbox, tmp_path: Path) -> None:
    reach = {"worker": os.getpid(), "file": str(tmp_path / "escaped")}
    told = sandbox.run(work("escape"), b"", reach, output_bytes=0).metadata
    assert set(told.values()) == {"PermissionError"}, told
    assert len(told) == 9


def test_it_has_no_secrets_and_nothing_open(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv("FACELINE_MASTER_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Sandbox(WORKS, BOUNDS) as fresh:
        told = fresh.run(work("surroundings"), b"", {}, output_bytes=0).metadata
    assert not [name for name in told["environment"] if "SECRET" in name or "KEY" in name]
    # Three to nowhere, and the channel.
    assert len(told["open"]) == 4


def test_who_is_killed_from_outside_is_followed_by_another(sandbox: Sandbox) -> None:
    for _ in range(2):
        os.kill(pid_of(sandbox), signal.SIGKILL)
        assert next(iter(sandbox.run(work("echo"), b"x", {}, output_bytes=1_000).arrays)) == b"x"[0]
    pid = pid_of(sandbox)
    os.kill(fork_server_of(pid), signal.SIGKILL)
    wait_until_gone(pid)  # the decoder, with it
    assert pid_of(sandbox) != pid


class Interrupted(Exception):
    """As Celery's soft time limit raises it, anywhere in the main thread."""


def test_an_interrupted_wait_leaves_no_late_answer(sandbox: Sandbox) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    pid_of(sandbox)
    before = signal.signal(signal.SIGUSR1, interrupt)
    alarm = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    alarm.start()
    try:
        with pytest.raises(Interrupted):
            sandbox.run(work("hang"), b"", {}, output_bytes=0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sandbox.run(work("echo"), b"", {"n": 1}, output_bytes=1_000).metadata == {
        "options": {"n": 1}
    }


def test_an_interrupted_start_leaves_no_late_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(channel: object, within_s: float) -> bool:
        raise Interrupted

    with Sandbox(WORKS, BOUNDS) as sandbox:
        with monkeypatch.context() as patched:
            patched.setattr(processes, "readable", interrupted)
            with pytest.raises(Interrupted):
                pid_of(sandbox)
        assert pid_of(sandbox) == pid_of(sandbox)


def test_who_cannot_be_locked_in_decodes_nothing() -> None:
    """More memory than the kernel can note, so that the limit cannot be set."""
    with Sandbox(WORKS, dataclasses.replace(BOUNDS, memory_bytes=2**63)) as sandbox:
        with pytest.raises(DecoderUnavailable, match="locked in"):
            sandbox.start()
        with pytest.raises(DecoderUnavailable):
            pid_of(sandbox)


def test_it_dies_with_its_worker() -> None:
    program = (
        "import os, signal, tests.unit.test_sandbox as t\n"
        "sandbox = t.Sandbox(t.WORKS, t.BOUNDS)\n"
        "pid = t.pid_of(sandbox)\n"
        "print(pid, t.fork_server_of(pid), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for pid in map(int, done.stdout.split()):
        wait_until_gone(pid)


def test_a_closed_sandbox_can_be_used_again() -> None:
    with Sandbox(WORKS, BOUNDS) as sandbox:
        first = pid_of(sandbox)
        sandbox.close()
        wait_until_gone(first)
        assert pid_of(sandbox) != first


@pytest.fixture
def shared() -> Iterator[ForkServer]:
    server = ForkServer(DecoderRules(WORKS, BOUNDS.memory_bytes, TASKS, GROWTH_BYTES), {})
    yield server
    server.end()


def test_processes_of_a_group_share_a_fork_server_and_nothing_else(shared: ForkServer) -> None:
    with (
        Sandbox(WORKS, BOUNDS, shared=shared) as one,
        Sandbox(WORKS, BOUNDS, shared=shared) as other,
    ):
        first, second = pid_of(one), pid_of(other)
        assert first != second
        assert fork_server_of(first) == fork_server_of(second)
        for pid in (first, second):
            maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
            assert len([line for line in maps if "faceline-arena" in line]) == 1
        with pytest.raises(PictureCorrupt):
            one.run(work("crash"), b"", {}, output_bytes=0)
        assert pid_of(other) == second
        third = pid_of(one)
        one.close()
        wait_until_gone(third)
        assert pid_of(other) == second


def test_who_loses_the_shared_fork_server_has_one_of_its_own(shared: ForkServer) -> None:
    with Sandbox(WORKS, BOUNDS, shared=shared) as sandbox:
        pid = pid_of(sandbox)
        former = fork_server_of(pid)
        os.kill(former, signal.SIGKILL)
        wait_until_gone(pid)
        assert fork_server_of(pid_of(sandbox)) != former


def test_a_decoder_without_work_ends(
    monkeypatch: pytest.MonkeyPatch, shared: ForkServer
) -> None:
    monkeypatch.setattr("pipeline.sandbox.sandbox.IDLE_S", 0.2)
    monkeypatch.setattr("pipeline.sandbox.sandbox.CHECK_EVERY_S", 0.05)
    with Sandbox(WORKS, BOUNDS, shared=shared) as sandbox:
        pid = pid_of(sandbox)
        # The fork server has taken its exit status: it is no zombie, either.
        eventually(lambda: not psutil.pid_exists(pid), "an idle decoder ends")
        assert pid_of(sandbox) != pid


def test_settings_decide() -> None:
    assert open_fork_server(Settings(decode_sandbox=False), WORKS) is None
    assert open_sandbox(Settings(decode_sandbox=False), WORKS) is None
    opened = open_sandbox(Settings(decode_memory_mb=77, decode_limit_s=3.0), WORKS)
    assert opened is not None
    assert (opened.limits.memory_bytes, opened.limits.seconds) == (77 * MB, 3.0)
    assert opened.limits.output_bytes == 3 * Settings().max_pixels
