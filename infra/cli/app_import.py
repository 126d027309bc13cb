"""``faceline apps import``: credentials that clients already have, so that only a URL changes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from api_shim.auth.sm2 import parse_public_key
from infra.cli.app_settings import Chosen, Profile, read_choices
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice
from infra.cli.database import Stores
from pipeline.accounts.imported import ImportedCredential, check_imported
from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.errors import InvalidParameter, TenantNotFound

STDIN = "-"
MAX_CHARS = 64 * 1024

# The documents' names of an id and of its secret; an API key is both.
PAIRS = (
    (SIGNING, "appId", "appSecret"), (NUMBER_AND_KEY, "Apid", "Kvalue"),
    (ID_AND_SECRET, "api_id", "api_secret"), (API_KEY, "", "X-API-Key"),
)
SM2_PUBLIC_KEY = "SM2 public key"
_NAMES = [name for _, *names in PAIRS for name in names if name]

# A line of a file: NAME=VALUE, NAME: VALUE, or NAME VALUE as `apps create` prints it.
_BETWEEN = re.compile(r"\s*[=:]\s*|\s+(?=\S+$)")


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
    choices = read_choices(profile, chosen)
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


def read_credentials(text: str) -> list[ImportedCredential]:
    """The credentials in the text of a file. Raises ``InvalidParameter`` with the reason for
    which one cannot be used."""
    given = _by_name(_pairs(text))
    public_key = given.get(SM2_PUBLIC_KEY)
    if public_key is not None:
        parse_public_key(public_key)
    found = []
    for kind, id_name, secret_name in PAIRS:
        public_id, secret = given.get(id_name, ""), given.get(secret_name, "")
        if not public_id and not secret:
            continue
        if not secret or (id_name and not public_id):
            raise InvalidParameter(f"{id_name if secret else secret_name} is missing")
        credential = ImportedCredential(
            kind, public_id, secret, public_key if kind is SIGNING else None
        )
        check_imported(credential, id_name, secret_name)
        found.append(credential)
    if not found:
        raise InvalidParameter(f"there are no credentials: name {', '.join(_NAMES)}")
    ids = [credential.public_id for credential in found if credential.public_id]
    if len(set(ids)) < len(ids):
        raise InvalidParameter("an id must not be that of two credentials")
    if public_key is not None and found[0].kind is not SIGNING:
        raise InvalidParameter(f"{SM2_PUBLIC_KEY} belongs to an appId")
    return found


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        try:
            members = json.loads(text)
        except ValueError as error:
            raise InvalidParameter("the credentials are not JSON") from error
        return [(name, str(value)) for name, value in members.items()]
    lines = [line.strip() for line in text.splitlines()]
    return [_line(line) for line in lines if line and not line.startswith("#")]


def _line(line: str) -> tuple[str, str]:
    parts = _BETWEEN.split(line.removeprefix("export "), maxsplit=1)
    if len(parts) != 2:
        raise InvalidParameter("a line must be NAME=VALUE")
    name, value = parts
    return name, value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values by the documents' names, which may be written in any case and with other
    separators (`app_id`, `FACE_APP_ID`)."""
    known = {_folded(name): name for name in (*_NAMES, SM2_PUBLIC_KEY)}
    known["apikey"] = "X-API-Key"
    given: dict[str, str] = {}
    for name, value in pairs:
        folded = _folded(name).removeprefix("face")
        if folded == "name":
            continue  # as `apps create --json` prints it
        if folded not in known:
            raise InvalidParameter(
                f"{name!r} is no credential: there are {', '.join((*_NAMES, SM2_PUBLIC_KEY))}"
            )
        if known[folded] in given:
            raise InvalidParameter(f"{known[folded]} stands there twice")
        given[known[folded]] = value
    return given


def _folded(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


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
