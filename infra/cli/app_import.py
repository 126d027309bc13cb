"""``faceline apps import``: credentials that clients already have, so that only a URL changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from api_shim.auth.foreign import MAX_CHARS, read_credentials
from infra.cli.app_settings import Chosen, Profile, read_texts
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice
from infra.cli.database import Stores
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.errors import InvalidParameter, TenantNotFound

STDIN = "-"


def import_app(
    name: AppName,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A file, or `-` for the standard input.")
    ] = STDIN,
    profile: Profile = None, chosen: Chosen = None, json: Json = False,
) -> None:
    """Take over credentials that were issued elsewhere: lines `appId=...`, `appSecret=...`,
    `Apid`, `Kvalue`, `api_id`, `api_secret`, `X-API-Key`, or a JSON object of them. A new
    application is created. Weak or taken ones are refused, and then none is taken over."""
    choices = read_texts(profile, chosen)
    brought = read_credentials(_read(source))
    stores = Stores()
    tenants = stores.tenants
    tenants.credentials.check_free(_existing(tenants, name), brought)
    tenant = _existing(tenants, name) or tenants.create(
        name, choices, encrypted=stores.settings.encrypt_at_rest
    )
    if choices:
        tenants.set_settings(tenant.id, {**tenant.settings, **choices})
    ids = tenants.credentials.take_over(tenant, brought)
    if json:
        print_json({"name": name, "credentials": [
            {"kind": each.kind.name, "id": public_id}
            for each, public_id in zip(brought, ids, strict=True)
        ]})
    else:
        print_notice(f"{name} has taken over {', '.join(ids)}.")


def _read(source: str) -> str:
    try:
        text = sys.stdin.read(MAX_CHARS) if source == STDIN else Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"{source} cannot be read ({error})") from error
    return text[:MAX_CHARS]


def _existing(tenants: TenantStore, name: str) -> Tenant | None:
    try:
        return tenants.by_name(name)
    except TenantNotFound:
        return None
