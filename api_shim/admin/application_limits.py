"""What applications may use and do, and what they have used."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from api_shim.admin.application_credentials import PublicId
from api_shim.admin.applications import NamedApplication
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS, LEAST, Limit, Permissions, is_limit
from pipeline.metering.usage import month_of
from pipeline.operations import CALLED_OPERATIONS
from pipeline.operators.model import OperatorRole

Change = Literal["allow", "deny", "set"]


class LimitItem(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of an operation (``*``: of all together), null where there is none, and the
    charged calls of today and of this month (UTC)."""

    operation: str
    per_second: float | None
    burst: int | None
    daily: int | None
    monthly: int | None
    used_today: int
    used_this_month: int


class ApplicationLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an application may use and do; ``known`` are all operations that there are."""

    limits: list[LimitItem]
    operations: Permissions
    known: list[str]


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """New limits of an operation, or of all together; null: none of this kind."""

    application: str
    operation: str = ALL_OPERATIONS
    per_second: float | None = None
    burst: int | None = None
    daily: int | None = None
    monthly: int | None = None


class PermissionChange(msgspec.Struct, frozen=True, kw_only=True):
    """Operations that an application, or one of its credentials, may call: these (``allow``) or not
    these (``deny``) beside what holds already, or (``set``) ``only`` these and ``never`` those
    instead of it."""

    application: str
    credential: PublicId = ""
    change: Change = "set"
    operations: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A month (UTC, ``YYYY-MM``); this one without it."""

    application: str
    month: Annotated[str, msgspec.Meta(pattern="^([0-9]{4}-(0[1-9]|1[0-2]))?$")] = ""


class UsageItem(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of an operation on a day (UTC, ``YYYY-MM-DD``), by how they were charged."""

    day: str
    operation: str
    charged: int
    free: int
    refunded: int
    refused: int


class MonthUsage(msgspec.Struct, frozen=True):
    """The calls of a month, by day and operation."""

    month: str
    items: list[UsageItem]


def show_limits(
    services: AdminServices, _actor: Actor, given: NamedApplication
) -> ApplicationLimits:
    tenant, service = services.tenant(given.application), services.service
    today, month = service.usage.charged(tenant.id)
    rows = [
        LimitItem(
            operation=name, used_today=today.get(name, 0), used_this_month=month.get(name, 0),
            per_second=limit.per_second, burst=limit.burst, daily=limit.daily,
            monthly=limit.monthly,
        )
        for name in sorted({ALL_OPERATIONS, *tenant.limits})
        for limit in [tenant.limits.get(name, Limit())]
    ]
    return ApplicationLimits(
        limits=rows, operations=service.tenants.permissions(tenant), known=list(CALLED_OPERATIONS)
    )


def set_limits(
    services: AdminServices, actor: Actor, given: LimitChange
) -> ApplicationLimits:
    if given.operation != ALL_OPERATIONS:
        _check_operations(given.operation)
    for member, least in LEAST.items():
        value = getattr(given, member)
        if value is not None and not is_limit(member, value):
            raise InvalidParameter(f"{member} is a number of at least {least:g}, or null")
    tenant = services.tenant(given.application)
    limit = Limit(
        per_second=given.per_second, burst=given.burst, daily=given.daily, monthly=given.monthly
    )
    services.service.tenants.set_limits(tenant.id, {**tenant.limits, given.operation: limit})
    return show_limits(services, actor, NamedApplication(tenant.name))


def change_permissions(
    services: AdminServices, actor: Actor, given: PermissionChange
) -> ApplicationLimits:
    _check_operations(*given.operations, *(given.only or ()), *given.never)
    tenant, tenants = services.tenant(given.application), services.service.tenants
    permissions = tenants.permissions(tenant, given.credential or None)
    match given.change:
        case "allow":
            permissions = permissions.allow(*given.operations)
        case "deny":
            permissions = permissions.deny(*given.operations)
        case "set":
            permissions = Permissions(only=given.only, never=given.never)
    if given.credential:
        tenants.credentials.restrict(tenant.id, given.credential, permissions)
    else:
        tenants.set_permissions(tenant.id, permissions)
    return show_limits(services, actor, NamedApplication(tenant.name))


def show_usage(services: AdminServices, _actor: Actor, given: UsageQuery) -> MonthUsage:
    tenant, usage = services.tenant(given.application), services.service.usage
    month = given.month or month_of(usage.today())
    return MonthUsage(month, [
        UsageItem(day=row.period, operation=row.operation, **row.counts.values())
        for row in usage.report(usage.days(month, tenant.id), tenant.id)
    ])


def _check_operations(*names: str) -> None:
    for name in names:
        if name not in CALLED_OPERATIONS:
            raise InvalidParameter(
                f"there is no operation {name!r}; there are {', '.join(CALLED_OPERATIONS)}"
            )


_APPLICATION = "/applications/{application}"

SHOW_LIMITS = AdminOperation(
    "limits.show", "GET", f"{_APPLICATION}/limits",
    "The limits of an application, what it has used of them, and what it may do.",
    OperatorRole.VIEWER, NamedApplication, ApplicationLimits, show_limits,
)
SET_LIMITS = AdminOperation(
    "limits.set", "PUT", f"{_APPLICATION}/limits",
    "Limit an application's requests, from the next one on.",
    OperatorRole.ADMINISTRATOR, LimitChange, ApplicationLimits, set_limits,
    subject_of=lambda given: given.operation,
)
CHANGE_PERMISSIONS = AdminOperation(
    "limits.permit", "PUT", f"{_APPLICATION}/permissions",
    "Allow and deny operations to an application or to one of its credentials.",
    OperatorRole.ADMINISTRATOR, PermissionChange, ApplicationLimits, change_permissions,
    subject_of=lambda given: given.credential,
)
SHOW_USAGE = AdminOperation(
    "usage.show", "GET", f"{_APPLICATION}/usage",
    "An application's calls of a month, by day and operation.",
    OperatorRole.VIEWER, UsageQuery, MonthUsage, show_usage,
)

OPERATIONS = (SHOW_LIMITS, SET_LIMITS, CHANGE_PERMISSIONS, SHOW_USAGE)
