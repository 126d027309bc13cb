"""The wait limit of an operation and an application."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.accounts.model import Tenant
from pipeline.accounts.wait_limits import wait_limit_s
from pipeline.config.settings import Settings


@pytest.mark.parametrize(
    ("own", "locate", "living"),
    [
        ({}, 30.0, 120.0),
        ({"*": 5}, 5.0, 5.0),
        ({"living": 300.5}, 30.0, 300.5),
        ({"*": None, "living": 60}, math.inf, 60.0),
        ({"locate": None}, math.inf, 120.0),
    ],
)
def test_the_closest_limit_counts(own: dict[str, Any], locate: float, living: float) -> None:
    tenant = Tenant(1, "t", {"wait_limits": own}, disabled=False)
    limits = [wait_limit_s(tenant, each, Settings()) for each in ("locate", "living")]
    assert limits == [locate, living]


def test_the_service_can_hold_every_response_to_its_end() -> None:
    settings = Settings.model_validate({"hold_s": "inf", "living_hold_s": "inf"})
    tenant = Tenant(1, "t", {}, disabled=False)
    assert wait_limit_s(tenant, "locate", settings) == math.inf
