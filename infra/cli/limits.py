"""``faceline apps limits``, ``allow``, ``deny``, ``expire``: what an application may use, may
do, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from infra.cli.arguments import AppName, Json
from infra.cli.console import local_time, print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.accounts.model import Tenant
from pipeline.database.clock import database_time
from pipeline.errors import InvalidParameter
from pipeline.metering import limits as metering
from pipeline.metering.limits import ALL_OPERATIONS, ALLOW_ALL, Limit, Permissions
from pipeline.metering.usage import UsageStore
from pipeline.operations import CALLED_OPERATIONS, PLANS

DAY_S = 24 * 3600.0
NONE = "none"

Operations = Annotated[
    list[str] | None, typer.Argument(help="Operations, as `faceline apps operations` lists them.")
]
Everything = Annotated[bool, typer.Option("--all", help="Every operation.")]
Credential = Annotated[
    str | None,
    typer.Option(
        help="Only for what is called with this credential: an appId, an Apid, an api_id, or "
        "the beginning of an API key."
    ),
]


def limits(
    name: AppName,
    operation: Annotated[
        str, typer.Option(help="The operation to limit; without one: all of them together.")
    ] = ALL_OPERATIONS,
    per_second: Annotated[
        str | None, typer.Option(help="Requests a second on average, or `none`.")
    ] = None,
    burst: Annotated[
        str | None, typer.Option(help="Requests at once; `none`: as many as in a second.")
    ] = None,
    daily: Annotated[str | None, typer.Option(help="Charged calls a day (UTC), or `none`.")] = None,
    monthly: Annotated[
        str | None, typer.Option(help="Charged calls a month (UTC), or `none`.")
    ] = None,
    json: Json = False,
) -> None:
    """Set an application's limits, or show them. A limit applies from the next request on."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    options: tuple[tuple[str, str | None, type[float]], ...] = (
        ("per_second", per_second, float), ("burst", burst, int), ("daily", daily, int),
        ("monthly", monthly, int),
    )
    given = {
        field: _number(field, text, kind) for field, text, kind in options if text is not None
    }
    if given:
        if operation != ALL_OPERATIONS:
            _check(operation)
        limit = msgspec.structs.replace(tenant.limits.get(operation, Limit()), **given)
        stores.tenants.set_limits(tenant.id, {**tenant.limits, operation: limit})
        print_notice(f"The limits of {name} are changed.")
    _show(stores, stores.tenants.by_name(name), json)


def operations(json: Json = False) -> None:
    """The operations that can be limited, allowed and denied."""
    known = [(name, "on pictures" if name in PLANS else "on records") for name in CALLED_OPERATIONS]
    if json:
        print_json([name for name, _ in known])
    else:
        print_table(("operation", "works"), known)


def allow(
    name: AppName, chosen: Operations = None, everything: Everything = False,
    credential: Credential = None,
) -> None:
    """Permit operations to an application."""
    _permit(name, chosen, everything, credential, Permissions.allow, ALLOW_ALL)


def deny(
    name: AppName, chosen: Operations = None, everything: Everything = False,
    credential: Credential = None,
) -> None:
    """Deny operations to an application."""
    _permit(name, chosen, everything, credential, Permissions.deny, metering.ALLOW_NONE)


def expire(
    name: AppName,
    credential: Credential = None,
    moment: Annotated[
        datetime | None,
        typer.Option("--at", parser=datetime.fromisoformat, metavar="TIME",
                     help="When: 2027-01-31 or 2027-01-31T12:00 (UTC)."),
    ] = None,
    days: Annotated[float | None, typer.Option("--in-days", help="In so many days.")] = None,
    never: Annotated[bool, typer.Option("--never", help="No more.")] = False,
) -> None:
    """Set when an application's credentials, or one of them, expire."""
    if [moment is not None, days is not None, never].count(True) != 1:
        raise InvalidParameter("choose one of --at, --in-days and --never")
    until = None
    if moment is not None:
        until = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    stores = Stores()
    if days is not None:
        until = database_time(stores.engine) + days * DAY_S
    tenant = stores.tenants.by_name(name)
    ids = [credential] if credential else [
        entry.public_id for entry in stores.tenants.credentials.entries(tenant.id)
    ]
    for public_id in ids:
        stores.tenants.credentials.expire(tenant.id, public_id, until)
    print_notice(f"{len(ids)} credentials of {name} " + (
        "do not expire." if until is None else f"expire at {local_time(until)}."
    ))


def _permit(
    name: str, chosen: list[str] | None, everything: bool, credential: str | None,
    change: Callable[..., Permissions], whole: Permissions,
) -> None:
    if bool(chosen) == everything:
        raise InvalidParameter("name operations, or choose --all")
    for operation in chosen or ():
        _check(operation)
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    now = stores.tenants.permissions(tenant, credential)
    then = whole if everything else change(now, *(chosen or ()))
    if credential is None:
        stores.tenants.set_permissions(tenant.id, then)
    else:
        stores.tenants.credentials.restrict(tenant.id, credential, then)
    print_notice(f"{credential or name} may use {_words(then)}.")


def _show(stores: Stores, tenant: Tenant, json: bool) -> None:
    kept = stores.tenants.permissions(tenant)
    entries = stores.tenants.credentials.entries(tenant.id)
    if json:
        print_json({
            "name": tenant.name, "disabled": tenant.disabled,
            "limits": metering.limits_to_json(tenant.limits),
            "operations": msgspec.to_builtins(kept),
            "challenge": tenant.must_answer_challenges,
            "credentials": [
                {
                    "kind": entry.kind, "id": entry.public_id, "expires_at": entry.expires_at,
                    "operations": msgspec.to_builtins(entry.permissions),
                }
                for entry in entries
            ],
        })
        return
    print_table(
        ("operation", "per second", "burst", "daily", "used today", "monthly", "used this month"),
        _rows(UsageStore(stores.engine), tenant.id, tenant.limits),
    )
    print_notice(f"{tenant.name} may use {_words(kept)}.")
    if tenant.must_answer_challenges:
        print_notice(f"Liveness clips of {tenant.name} must answer a challenge.")
    for entry in entries:
        if entry.permissions != ALLOW_ALL or entry.expires_at is not None:
            ends = f"; it expires at {local_time(entry.expires_at)}" if entry.expires_at else ""
            print_notice(
                f"{entry.kind} {entry.public_id} may use {_words(entry.permissions)}{ends}."
            )


def _rows(usage: UsageStore, tenant_id: int, chosen: metering.Limits) -> list[list[object]]:
    today, this_month = usage.charged(tenant_id)
    return [
        [
            "all together" if name == ALL_OPERATIONS else name, _cell(limit.per_second),
            "" if limit.per_second is None else limit.effective_burst,
            _cell(limit.daily), today.get(name, 0),
            _cell(limit.monthly), this_month.get(name, 0),
        ]
        for name in sorted({ALL_OPERATIONS, *chosen}) for limit in [chosen.get(name, Limit())]
    ]


def _cell(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _words(permissions: Permissions) -> str:
    if permissions.only is not None:
        return ", ".join(permissions.only) or "nothing"
    if permissions.never:
        return f"everything but {', '.join(permissions.never)}"
    return "everything"


def _number(field: str, text: str, kind: type[float]) -> float | None:
    """The number of an option; None for ``none``."""
    if text == NONE:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = -1.0
    if not metering.is_limit(field, value):
        option, least = field.replace("_", "-"), metering.LEAST[field]
        raise InvalidParameter(f"--{option} takes a number of at least {least:g}, or none")
    return value


def _check(operation: str) -> None:
    if operation not in CALLED_OPERATIONS:
        raise InvalidParameter(
            f"there is no operation {operation!r}; `faceline apps operations` lists them"
        )
