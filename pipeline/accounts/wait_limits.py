"""For how long a response is held until its job has ended: by operation and application."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.metering.limits import ALL_OPERATIONS
from pipeline.operations import LIVING

WAIT_LIMITS = "wait_limits"
"""The setting of a tenant with its own limits: seconds by operation, or by ``*`` for all others;
null: the response is held until the job has ended."""


def wait_limit_s(tenant: Tenant, operation: str, settings: Settings) -> float:
    """Seconds; infinite when the response is never 202 unless the client asks for it."""
    own = tenant.settings.get(WAIT_LIMITS)
    for name in (operation, ALL_OPERATIONS):
        if isinstance(own, Mapping) and name in own:
            return math.inf if own[name] is None else float(own[name])
    return settings.living_hold_s if operation == LIVING.operation else settings.hold_s
