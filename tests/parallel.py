"""Distribution of tests over processes: ``pytest -n 4``, as ``make test`` runs them.

The tests of a file run one after another in one process and share what their module sets up.
All files that use the shared service run in one process too, because it then starts once per
database. Files run in the order of collection, the slowest first. Each process has its own
servers, ports and folders.
"""

from __future__ import annotations

import fcntl
import functools
import os
import random
import re
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# Below the range from which the kernel takes ports for connections: a port that is
# free now stays free until its server listens.
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_PROCESSES = 16

_GIVEN: deque[int] = deque(maxlen=500)
"""The ports that were given last: whoever has one may listen at it only later."""

# In the id of a test that runs on both databases.
_ON_POSTGRESQL = re.compile(r"[\[-]postgresql[\]-]")

# Tests, and fixtures of a file, that take the service which ``tests.stack`` shares.
_TAKES_STACK = re.compile(
    r"^(?:def test_\w+|@pytest\.fixture.*\ndef \w+)\([^)]*\b(?:idle_)?stack: Stack\b", re.MULTILINE
)
_OWN_STACK = re.compile(r"^def stack\(", re.MULTILINE)

_ROOT = Path(__file__).resolve().parents[1]


class FilesByDatabase(LoadFileScheduling):  # type: ignore[misc]
    """Sends the tests of one file on one database to one process, and the tests of all files
    that share a service to one as well."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        scope = "the shared service" if shares_stack(_ROOT / file) else file
        return f"{scope} {_ON_POSTGRESQL.search(nodeid) is not None}"


@functools.cache
def shares_stack(file: Path) -> bool:
    """Whether tests of a file use the shared service."""
    text = file.read_text()
    return bool(_TAKES_STACK.search(text)) and not _OWN_STACK.search(text)


def pytest_configure() -> None:
    # All processes must collect the tests in one order, also those that come from a set.
    os.environ.setdefault("PYTHONHASHSEED", "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesByDatabase:
    config.option.loadscopereorder = False
    return FilesByDatabase(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts slow files first, because a slow file at the end would keep one process busy while
    the others idle. Groups the tests that share a service, by database."""
    items.sort(key=lambda item: (
        _turn(item.path), _ON_POSTGRESQL.search(item.nodeid) is not None
    ))


def _turn(file: Path) -> int:
    if shares_stack(file):
        return 0
    if {"faults", "integration"} & set(file.parts):
        return 1
    return 3 if "unit" in file.parts else 2


def once_per_run(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """A file that is made once per run, by the first process that asks for it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            make(folder / f"part-{name}")
            (folder / f"part-{name}").rename(folder / name)
    return folder / name


def free_port() -> int:
    """A port that no other process of this run gets."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(_FIRST_PORT // _PROCESSES, _LAST_PORT // _PROCESSES)
        port = port * _PROCESSES + worker
        if port in _GIVEN:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.append(port)
        return port
