"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import models_directory
from tests.faults.ledger import Ledger
from tests.servers import RedisServer
from tests.yard import Yard, open_yard

MakeYard = Callable[..., Yard]


@pytest.fixture
def make_yard(
    tmp_path: Path, redis_server: RedisServer, new_database: dict[str, object], edge_pack: object
) -> Iterator[MakeYard]:
    """A yard whose jobs are the smallest real work: one run of the detector on one
    tile. Takes settings."""
    with ExitStack() as stack:

        def make(**settings: object) -> Yard:
            return stack.enter_context(
                open_yard(
                    tmp_path, redis_server.url, models_directory(),
                    detection_sizes="32", **new_database, **settings,
                )
            )

        yield make


def open_ledger(yard: Yard) -> Ledger:
    ledger = Ledger(yard)
    ledger.open()
    return ledger
