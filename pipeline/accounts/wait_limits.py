"""For how long a response is held until its job has ended: by operation and application."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.accounts.model import Tenant, TenantSettings
from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS
from pipeline.operations import CALLED_PLANS, LIVING

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


def with_wait_limit(tenant: Tenant, operation: str, limit_s: float | None) -> TenantSettings:
    """The tenant's settings with a limit of its own for an operation, or for all others: seconds,
    infinite (no 202 unless the client asks for it), or None: the service's."""
    own = dict(tenant.settings.get(WAIT_LIMITS, {}))
    own.pop(operation, None)
    if limit_s is not None:
        own[operation] = None if math.isinf(limit_s) else limit_s
    return {**tenant.settings, WAIT_LIMITS: own}


def check_held(operation: str) -> None:
    """Raises ``InvalidParameter`` for an operation whose responses are not held."""
    if operation not in (ALL_OPERATIONS, *CALLED_PLANS):
        raise InvalidParameter(f"{operation!r} is none of {', '.join(CALLED_PLANS)}")
