"""``faceline apps settings``: how an application is answered where documents leave a choice."""

from __future__ import annotations

from typing import Annotated

import typer

from api_shim.dialects.registry import app_settings, profiles
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.errors import InvalidParameter

Profile = Annotated[
    str | None, typer.Option(help="Choices that belong together, such as `face2-vendor`.")
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One choice; may be repeated."),
]


def read_choices(profile: str | None, chosen: list[str] | None) -> dict[str, str]:
    """The settings of a profile and of ``NAME=VALUE`` texts, which go before it. Raises
    ``InvalidParameter``."""
    known, sets = app_settings(), profiles()
    if profile is not None and profile not in sets:
        raise InvalidParameter(f"there is no profile {profile!r}; there is {', '.join(sets)}")
    choices = dict(sets[profile]) if profile is not None else {}
    for text in chosen or ():
        name, _, value = text.partition("=")
        if name not in known:
            raise InvalidParameter(f"there is no setting {name!r}; there are {', '.join(known)}")
        if value not in known[name].choices:
            raise InvalidParameter(f"{name} is one of {', '.join(known[name].choices)}")
        choices[name] = value
    return choices


def settings(
    name: AppName, profile: Profile = None, chosen: Chosen = None,
    reset: Annotated[bool, typer.Option("--reset", help="First go back to all defaults.")] = False,
    json: Json = False,
) -> None:
    """Choose how an application is answered where documents leave a choice, or show it. A choice
    applies from the next request on."""
    tenants = Stores().tenants
    tenant = tenants.by_name(name)
    choices = read_choices(profile, chosen)
    if choices or reset:
        kept = {
            key: value for key, value in tenant.settings.items()
            if not (reset and key in app_settings())
        }
        tenants.set_settings(tenant.id, {**kept, **choices})
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
