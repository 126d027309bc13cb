"""Fixtures of the fault tests."""

from __future__ import annotations

from functools import partial

import pytest

from tests.faults.ledger import Ledger
from tests.stack import MakeYard
from tests.yard import Yard


@pytest.fixture
def make_yard(make_yard: MakeYard) -> MakeYard:
    """A yard whose jobs are the smallest real work: one run of the detector on one
    tile. Takes settings."""
    return partial(make_yard, detection_sizes="32")


def open_ledger(yard: Yard) -> Ledger:
    ledger = Ledger(yard)
    ledger.open()
    return ledger
