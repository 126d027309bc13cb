"""``faceline apps settings``: how an application is answered where documents leave a choice."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from api_shim.dialects.choices import read_choices, with_choices
from api_shim.dialects.registry import app_settings
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.accounts.wait_limits import check_held, wait_limit_s, with_wait_limit
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS
from pipeline.operations import CALLED_PLANS

Profile = Annotated[
    str | None, typer.Option(help="Choices that belong together, such as `face2-vendor`.")
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One choice; may be repeated."),
]


def read_texts(profile: str | None, chosen: list[str] | None) -> dict[str, str]:
    """The settings of a profile and of ``NAME=VALUE`` texts, which go before it. Raises
    ``InvalidParameter``."""
    pairs = (text.partition("=") for text in chosen or ())
    return read_choices(profile, {name: value for name, _, value in pairs})


def settings(
    name: AppName, profile: Profile = None, chosen: Chosen = None,
    reset: Annotated[bool, typer.Option("--reset", help="First go back to all defaults.")] = False,
    json: Json = False,
) -> None:
    """Choose how an application is answered where documents leave a choice, or show it. A choice
    applies from the next request on."""
    tenants = Stores().tenants
    tenant = tenants.by_name(name)
    choices = read_texts(profile, chosen)
    if choices or reset:
        tenants.set_settings(tenant.id, with_choices(tenant, choices, reset=reset))
        print_notice(f"The settings of {name} are changed.")
        tenant = tenants.by_name(name)
    rows = [(each, each.of(tenant)) for each in app_settings().values()]
    if json:
        print_json({each.name: value for each, value in rows})
        return
    print_table(
        ("setting", "value", "choices", "what"),
        [(each.name, value, ", ".join(each.choices), each.about) for each, value in rows],
    )


def wait(
    name: AppName,
    operation: Annotated[
        str, typer.Option(help="The operation; without one: all that have no limit of their own.")
    ] = ALL_OPERATIONS,
    seconds: Annotated[
        str | None,
        typer.Option(help="Seconds, `inf` (no 202 unless asked for), or `none`: the service's."),
    ] = None,
    json: Json = False,
) -> None:
    """Set for how long an application's responses are held before they become 202, or show it."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    check_held(operation)
    if seconds is not None:
        limit = None if seconds == "none" else _seconds(seconds)
        stores.tenants.set_settings(tenant.id, with_wait_limit(tenant, operation, limit))
        print_notice(f"The wait limits of {name} are changed.")
        tenant = stores.tenants.by_name(name)
    limits = {each: wait_limit_s(tenant, each, stores.settings) for each in CALLED_PLANS}
    if json:
        print_json({
            each: None if math.isinf(limit) else limit for each, limit in limits.items()
        })
        return
    print_table(
        ("operation", "held for"),
        [
            (each, "until its end" if math.isinf(limit) else f"{limit:g} s")
            for each, limit in limits.items()
        ],
    )


def _seconds(text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InvalidParameter("--seconds takes a number of at least 0, inf or none")
    return limit
