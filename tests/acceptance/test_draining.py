"""What a shim does between SIGTERM and its end: it says so first, serves on, and breaks no call."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.cluster import READY_S
from tests.face2_client import CALL_S, data_of
from tests.stack import Stack
from tests.waiting import eventually

MakeStack = Callable[..., Stack]


@pytest.fixture
def make_stack(tmp_path: Path, edge_models: Path) -> Iterator[MakeStack]:
    """A shim alone, with these settings: its jobs wait for ever."""
    with contextlib.ExitStack() as stacks:

        def make(**settings: object) -> Stack:
            stack = stacks.enter_context(Stack(tmp_path, edge_models, hold_s=300.0, **settings))
            return stack.start_shim()

        yield make


class HeldCall:
    """A call that waits for its job in a thread of its own."""

    def __init__(self, stack: Stack, picture: str) -> None:
        self.answer: requests.Response | None = None
        client = stack.client()

        def call() -> None:
            self.answer = client.call("locate", data_of("locate", picture))

        self.thread = threading.Thread(target=call)
        self.thread.start()
        eventually(lambda: stack.jobs.read.counts().get("queued"), "the job is accepted")

    def answered(self) -> requests.Response:
        self.thread.join(READY_S)
        assert self.answer is not None
        return self.answer


def terminate(stack: Stack) -> None:
    assert stack.shim is not None
    stack.shim.signal("SIGTERM")


def wait_until_unready(stack: Stack) -> None:
    eventually(
        lambda: requests.get(f"{stack.url}/readyz", timeout=CALL_S).status_code == 503,
        "/readyz fails", 5.0,
    )


def test_it_says_so_first_and_serves_on(make_stack: MakeStack, obama: str) -> None:
    stack = make_stack(drain_s=8.0, stop_s=60.0)
    kept = requests.Session()
    kept.get(f"{stack.url}/livez", timeout=CALL_S)
    held = HeldCall(stack, obama)
    assert requests.get(f"{stack.url}/readyz", timeout=CALL_S).status_code == 200

    terminate(stack)
    wait_until_unready(stack)
    for path, status in (("/readyz", 503), ("/health", 503), ("/livez", 200)):
        answer = kept.get(stack.url + path, timeout=CALL_S)
        assert answer.status_code == status
        assert answer.headers["Connection"] == "close"
    told = requests.get(f"{stack.url}/readyz", timeout=CALL_S).json()
    assert (told["status"], told["database"]) == ("stopping", "ok")
    late = stack.client().call("locate", data_of("locate", obama), Prefer="respond-async")
    assert late.status_code == 202

    # After the pause no connection begins, and the held call still gets its job's answer.
    eventually(lambda: stack.health() is None, "it accepts no more")
    stack.start_worker(concurrency=1)
    answer = held.answered()
    assert (answer.status_code, answer.json()["code"]) == (200, 0)
    assert answer.headers["Connection"] == "close"
    assert stack.shim is not None
    assert stack.shim.wait(READY_S) in (0, -15)


def test_a_second_signal_hurries(make_stack: MakeStack, obama: str) -> None:
    stack = make_stack(drain_s=200.0, stop_s=200.0)
    held = HeldCall(stack, obama)
    began = time.monotonic()
    terminate(stack)
    wait_until_unready(stack)
    terminate(stack)
    assert held.answered().status_code == 202
    assert stack.shim is not None
    assert stack.shim.wait(READY_S) in (0, -15)
    assert time.monotonic() - began < 100


def test_held_calls_are_answered_when_their_time_is_over(
    make_stack: MakeStack, obama: str
) -> None:
    stack = make_stack(drain_s=0.0, stop_s=0.5)
    held = HeldCall(stack, obama)
    terminate(stack)
    assert held.answered().status_code == 202


def test_no_connection_is_cut_off(make_stack: MakeStack) -> None:
    """Callers that connect anew all the time are served or refused, at any moment."""
    stack = make_stack(drain_s=0.3)
    ended = threading.Event()
    outcomes: Counter[str] = Counter()

    def call_on() -> None:
        while not ended.is_set():
            try:
                # As a proxy that must not send it twice.
                requests.post(f"{stack.url}/livez", data=b"x" * 1000, timeout=CALL_S)
                outcomes["answered"] += 1
            except requests.ConnectionError as error:
                refused = "Connection refused" in str(error)
                outcomes["refused" if refused else repr(error)] += 1
                if refused:
                    return

    threads = [threading.Thread(target=call_on) for _ in range(12)]
    for thread in threads:
        thread.start()
    eventually(lambda: outcomes["answered"] > 50, "callers are served")
    terminate(stack)
    for thread in threads:
        thread.join(READY_S)
    ended.set()
    assert set(outcomes) == {"answered", "refused"}
    assert outcomes["refused"] == len(threads)
