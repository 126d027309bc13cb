"""Limits name operations that are there, and every failure of the service is refunded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_shim.dialects.base import Dialect
from api_shim.dialects.registry import load_dialects
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.metering.costs import FREE_OPERATIONS, Cost, cost_of_error
from pipeline.operations import PLANS, RECORD_OPERATIONS

# Kinds of errors that are the service's own, with all below them.
OURS = (errors.Unavailable, errors.PackError, errors.JobLost, errors.MediaCorrupt)


def kinds(root: type[FaceError] = FaceError) -> Iterator[type[FaceError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("dialect", load_dialects())
def test_every_path_has_an_operation_that_can_be_limited(dialect: type[Dialect]) -> None:
    actions = {endpoint.action for endpoint in dialect.endpoints}
    assert actions <= {*PLANS, *RECORD_OPERATIONS}


def test_the_names_of_operations_fit_their_column() -> None:
    assert all(len(name) <= 32 for name in (*PLANS, *RECORD_OPERATIONS))
    assert not {*PLANS} & {*RECORD_OPERATIONS}


def test_what_is_free_is_there() -> None:
    assert set(RECORD_OPERATIONS) >= FREE_OPERATIONS
    for dialect in load_dialects():
        assert set(PLANS) >= dialect.free_actions


@pytest.mark.parametrize(
    "kind",
    [kind for kind in kinds() if issubclass(kind, OURS) and kind is not errors.JobCancelled],
)
def test_failures_of_the_service_are_refunded(kind: type[FaceError]) -> None:
    assert cost_of_error(kind.code) is Cost.REFUNDED


def test_what_the_client_sent_wrongly_is_free() -> None:
    told = {errors.NoFace, errors.ManyFaces, errors.BadQuality}
    for kind in kinds(errors.BadInput):
        assert cost_of_error(kind.code) is (Cost.CHARGED if kind in told else Cost.FREE)
