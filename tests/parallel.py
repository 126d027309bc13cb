"""Several tests at once: ``pytest -n 3``, which is what ``make test`` does.

The tests of a file run one after another in one process, so that they share what their
module sets up; files run beside each other, in the order in which they were collected,
which ends with the short ones. Each process has its own servers, ports and folders.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# Below the range from which the kernel takes ports for connections: a port that is
# free now stays free until its server listens.
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_PROCESSES = 16

# In the id of a test that runs on both databases.
_ON_POSTGRESQL = re.compile(r"[\[-]postgresql[\]-]")


class FilesByDatabase(LoadFileScheduling):  # type: ignore[misc]
    """The tests of one file on one database go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return f"{file} {_ON_POSTGRESQL.search(nodeid) is not None}"


def pytest_configure() -> None:
    # All processes must collect the tests in one order, also those that come from a set.
    os.environ.setdefault("PYTHONHASHSEED", "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesByDatabase:
    config.option.loadscopereorder = False
    return FilesByDatabase(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A service that tests share is started once for each database: first come all its
    tests on one, then all on the other. What is short fills the gaps at the end."""
    items.sort(key=lambda item: (
        "unit" in item.path.parts, _ON_POSTGRESQL.search(item.nodeid) is not None
    ))


def once_a_run(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """A file that the first process which wants it makes, for all of this run."""
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
    """A port that no other process of this run is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(_FIRST_PORT // _PROCESSES, _LAST_PORT // _PROCESSES)
        port = port * _PROCESSES + worker
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
