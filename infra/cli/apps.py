"""``faceline apps``: who may call, and with which credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from api_shim.auth.sm2 import generate_key_pair, parse_public_key
from infra.cli import limits
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import open_tenants
from pipeline.accounts.tenants import Tenant, TenantStore
from pipeline.config.settings import load_settings
from pipeline.errors import InvalidParameter

app = typer.Typer(help="Applications and their credentials.", no_args_is_help=True)

KEEP_H = 168.0  # a week: long enough to bring new secrets to every client

Name = Annotated[str, typer.Argument(help="The application's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Sm2 = Annotated[bool, typer.Option("--sm2", help="Make an SM2 key pair for signatures.")]
Sm2PublicKey = Annotated[
    str | None,
    typer.Option(help="The caller's own SM2 public key: 128 hex digits, x then y."),
]


@dataclass(frozen=True, slots=True)
class Issued:
    """Fresh credentials of an application; the secrets cannot be shown again."""

    name: str
    app_id: str
    app_secret: str
    api_key: str
    apid: int
    kvalue: str
    api_id: str
    api_secret: str
    sm2_private_key: str | None
    sm2_public_key: str | None

    def rows(self) -> list[tuple[str, str]]:
        rows = [
            ("appId", self.app_id),
            ("appSecret", self.app_secret),
            ("X-API-Key", self.api_key),
            ("Apid", str(self.apid)),
            ("Kvalue", self.kvalue),
            ("api_id", self.api_id),
            ("api_secret", self.api_secret),
            ("SM2 private key", self.sm2_private_key or ""),
            ("SM2 public key", self.sm2_public_key or ""),
        ]
        return [(label, value) for label, value in rows if value]

    def json(self) -> dict[str, str | int]:
        values: dict[str, str | int | None] = {
            "name": self.name,
            "app_id": self.app_id,
            "app_secret": self.app_secret,
            "api_key": self.api_key,
            "apid": self.apid,
            "kvalue": self.kvalue,
            "api_id": self.api_id,
            "api_secret": self.api_secret,
            "sm2_private_key": self.sm2_private_key,
            "sm2_public_key": self.sm2_public_key,
        }
        return {name: value for name, value in values.items() if value is not None}


@app.command()
def create(
    name: Name, sm2: Sm2 = False, sm2_public_key: Sm2PublicKey = None, json: Json = False
) -> None:
    """Make an application and print its credentials, once."""
    _check_key(sm2, sm2_public_key)
    settings = load_settings()
    tenants = open_tenants(settings)
    tenant = tenants.create(name, encrypted=settings.encrypt_at_rest)
    _show(issue(tenants, tenant, sm2=sm2, sm2_public_key=sm2_public_key), json)


@app.command("list")
def list_apps(json: Json = False) -> None:
    """Every application, with the public parts of its live credentials."""
    tenants = open_tenants(load_settings())
    found = [(tenant, tenants.public_ids(tenant.id)) for tenant in tenants.all()]
    if json:
        print_json(
            [
                {
                    "name": tenant.name,
                    "number": tenant.id,
                    "disabled": tenant.disabled,
                    "credentials": [{"kind": kind, "id": public} for kind, public in ids],
                }
                for tenant, ids in found
            ]
        )
        return
    print_table(
        ("name", "number", "state", "appId", "X-API-Key begins", "Apid", "api_id"),
        (
            (
                tenant.name,
                tenant.id,
                "disabled" if tenant.disabled else "active",
                "\n".join(public for kind, public in ids if kind == "signed"),
                "\n".join(public for kind, public in ids if kind == "key"),
                "\n".join(public for kind, public in ids if kind == "apid"),
                "\n".join(public for kind, public in ids if kind == "linkface"),
            )
            for tenant, ids in found
        ),
    )


@app.command()
def rotate(
    name: Name,
    keep: Annotated[
        float, typer.Option("--keep", min=0, help="Hours for which the old secrets still work.")
    ] = KEEP_H,
    now: Annotated[bool, typer.Option("--now", help="End the old ones at once.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Issue none; end all but the newest.")
    ] = False,
    sm2: Sm2 = False,
    sm2_public_key: Sm2PublicKey = None,
    json: Json = False,
) -> None:
    """Issue new secrets for the same appId and Apid, and a new API key; the old ones go on
    for a while."""
    _check_key(sm2, sm2_public_key)
    if now and finish:
        raise InvalidParameter("--now issues new credentials and --finish does not: choose one")
    tenants = open_tenants(load_settings())
    tenant = tenants.by_name(name)
    if finish:
        print_notice(f"{retire_old(tenants, tenant)} old secrets of {name} are ended.")
        return
    hours = 0.0 if now else keep
    key = sm2_public_key if sm2 or sm2_public_key else _newest_sm2_key(tenants, tenant)
    _show(renew(tenants, tenant, hours * 3600, sm2=sm2, sm2_public_key=key), json)
    if hours:
        print_notice(f"The old secrets work for {hours:g} hours more; end that with: "
            f"faceline apps rotate {name} --finish")
    else:
        print_notice(f"The old secrets of {name} are ended.")


@app.command()
def disable(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let it call again.")] = False,
) -> None:
    """Refuse every call of an application; its data stays."""
    tenants = open_tenants(load_settings())
    tenants.set_disabled(tenants.by_name(name).id, not undo)
    print_notice(f"{name} is {'active again' if undo else 'disabled'}.")


def issue(
    tenants: TenantStore, tenant: Tenant, *, sm2: bool = False, sm2_public_key: str | None = None
) -> Issued:
    """Issue one credential of each kind; with ``sm2`` a key pair is made, of which only
    the public key is kept."""
    private, public = generate_key_pair() if sm2 else (None, sm2_public_key)
    signed = tenants.issue_signed(tenant.id, public)
    numbered = tenants.issue_apid(tenant.id)
    linkface = tenants.issue_api_secret(tenant.id)
    return Issued(
        name=tenant.name,
        app_id=signed.app_id,
        app_secret=signed.app_secret,
        api_key=tenants.issue_key(tenant.id),
        apid=numbered.apid,
        kvalue=numbered.kvalue,
        api_id=linkface.api_id,
        api_secret=linkface.api_secret,
        sm2_private_key=private,
        sm2_public_key=public,
    )


def renew(
    tenants: TenantStore, tenant: Tenant, keep_s: float, *, sm2: bool = False,
    sm2_public_key: str | None = None,
) -> Issued:
    """New secrets for the newest credential of each kind, and one of a kind that the
    application does not have; those before it, and its older credentials, end in
    ``keep_s`` seconds."""
    newest = dict(tenants.public_ids(tenant.id))
    private, public = generate_key_pair() if sm2 else (None, sm2_public_key)
    for kind, public_id in newest.items():
        tenants.retire(tenant.id, kind, keep_s, keep=public_id)
    if "signed" in newest:
        signed = tenants.rotate_signed(tenant.id, newest["signed"], keep_s, public)
    else:
        signed = tenants.issue_signed(tenant.id, public)
    if "apid" in newest:
        numbered = tenants.rotate_apid(tenant.id, int(newest["apid"]), keep_s)
    else:
        numbered = tenants.issue_apid(tenant.id)
    if "linkface" in newest:
        linkface = tenants.rotate_api_secret(tenant.id, newest["linkface"], keep_s)
    else:
        linkface = tenants.issue_api_secret(tenant.id)
    if "key" in newest:
        api_key = tenants.rotate_key(tenant.id, newest["key"], keep_s)
    else:
        api_key = tenants.issue_key(tenant.id)
    return Issued(
        name=tenant.name,
        app_id=signed.app_id,
        app_secret=signed.app_secret,
        api_key=api_key,
        apid=numbered.apid,
        kvalue=numbered.kvalue,
        api_id=linkface.api_id,
        api_secret=linkface.api_secret,
        sm2_private_key=private,
        sm2_public_key=public,
    )


def retire_old(tenants: TenantStore, tenant: Tenant) -> int:
    """End all but the newest live secret of each kind; how many."""
    newest = dict(tenants.public_ids(tenant.id))
    return sum(tenants.revoke(tenant.id, kind, keep=public) for kind, public in newest.items())


def _check_key(sm2: bool, sm2_public_key: str | None) -> None:
    if sm2 and sm2_public_key:
        raise InvalidParameter("--sm2 makes a key pair and --sm2-public-key brings one: choose")
    if sm2_public_key:
        parse_public_key(sm2_public_key)


def _newest_sm2_key(tenants: TenantStore, tenant: Tenant) -> str | None:
    """The public key that signatures are verified with now."""
    app_id = dict(tenants.public_ids(tenant.id)).get("signed")
    credential = None if app_id is None else tenants.signed(app_id)
    return None if credential is None else credential.sm2_public_key


def _show(issued: Issued, json: bool) -> None:
    if json:
        print_json(issued.json())
        return
    for label, value in issued.rows():
        typer.echo(f"{label:<16} {value}")
    print_notice("Keep the secrets now: they are not shown again.")


# Last, as the help lists them.
for command in (limits.limits, limits.operations, limits.allow, limits.deny, limits.expire):
    app.command()(command)
