"""What applications choose among ways to be answered: one by one, or by profiles."""

from __future__ import annotations

from collections.abc import Mapping

from api_shim.dialects.registry import app_settings, profiles
from pipeline.accounts.model import Tenant, TenantSettings
from pipeline.errors import InvalidParameter


def read_choices(profile: str | None, chosen: Mapping[str, str]) -> dict[str, str]:
    """The settings of a profile, and those ``chosen`` by name, which go before it. Raises
    ``InvalidParameter``."""
    known, sets = app_settings(), profiles()
    if profile is not None and profile not in sets:
        raise InvalidParameter(f"there is no profile {profile!r}; there is {', '.join(sets)}")
    for name, value in chosen.items():
        if name not in known:
            raise InvalidParameter(f"there is no setting {name!r}; there are {', '.join(known)}")
        if value not in known[name].choices:
            raise InvalidParameter(f"{name} is one of {', '.join(known[name].choices)}")
    return {**(sets[profile] if profile is not None else {}), **chosen}


def with_choices(
    tenant: Tenant, choices: Mapping[str, str], *, reset: bool = False
) -> TenantSettings:
    """The tenant's settings with these choices; with ``reset`` all others have their defaults."""
    kept = {
        name: value for name, value in tenant.settings.items()
        if not (reset and name in app_settings())
    }
    return {**kept, **choices}
