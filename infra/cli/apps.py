"""``faceline apps``: applications and their credentials."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from api_shim.auth.sm2 import generate_key_pair, parse_public_key
from infra.cli import limits
from infra.cli.app_import import import_app
from infra.cli.app_settings import Chosen, Profile, read_choices, settings, wait
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from infra.local.credentials import KINDS, Credentials
from pipeline.accounts.kinds import SIGNING, CredentialKind
from pipeline.accounts.model import CHALLENGES, IssuedCredential, Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.errors import InvalidParameter

app = typer.Typer(help="Applications and their credentials.", no_args_is_help=True)

KEEP_H = 168.0  # a week: long enough to bring new secrets to every client

Sm2 = Annotated[bool, typer.Option("--sm2", help="Make an SM2 key pair for signatures.")]
Sm2PublicKey = Annotated[
    str | None, typer.Option(help="The caller's own SM2 public key: 128 hex digits, x then y.")
]


@app.command()
def create(
    name: AppName, sm2: Sm2 = False, sm2_public_key: Sm2PublicKey = None,
    profile: Profile = None, chosen: Chosen = None, json: Json = False,
) -> None:
    """Create an application and print its credentials, once."""
    _check_key(sm2, sm2_public_key)
    choices = read_choices(profile, chosen)
    stores = Stores()
    tenants = stores.tenants
    tenant = tenants.create(name, choices, encrypted=stores.settings.encrypt_at_rest)
    _show(name, _issue(sm2, sm2_public_key, partial(tenants.credentials.issue, tenant.id)), json)


@app.command("list")
def list_apps(json: Json = False) -> None:
    """Every application, with the public parts of its live credentials."""
    tenants = Stores().tenants
    found = [(tenant, tenants.credentials.public_ids(tenant.id)) for tenant in tenants.all()]
    if json:
        print_json([
            {
                "name": tenant.name, "number": tenant.id, "disabled": tenant.disabled,
                "credentials": [{"kind": kind, "id": public} for kind, public in ids],
            }
            for tenant, ids in found
        ])
        return
    print_table(
        ("name", "number", "state", *KINDS.values()),
        (
            (
                tenant.name, tenant.id, "disabled" if tenant.disabled else "active",
                *("\n".join(public for kind, public in ids if kind == each.name) for each in KINDS),
            )
            for tenant, ids in found
        ),
    )


@app.command()
def rotate(
    name: AppName,
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
    """Issue new secrets for the same appId, Apid and api_id, and a new API key; the old ones
    work for a while longer."""
    _check_key(sm2, sm2_public_key)
    if now and finish:
        raise InvalidParameter("--now issues new credentials and --finish does not: choose one")
    tenants = Stores().tenants
    tenant = tenants.by_name(name)
    if finish:
        store, newest = tenants.credentials, dict(tenants.credentials.public_ids(tenant.id))
        ended = sum(store.revoke(tenant.id, kind, keep=public) for kind, public in newest.items())
        print_notice(f"{ended} old secrets of {name} are ended.")
        return
    hours = 0.0 if now else keep
    key = sm2_public_key if sm2 or sm2_public_key else _newest_sm2_key(tenants, tenant)
    _show(name, renew(tenants, tenant, hours * 3600, sm2=sm2, sm2_public_key=key), json)
    if hours:
        print_notice(f"The old secrets work for {hours:g} hours more; end that with: "
            f"faceline apps rotate {name} --finish")
    else:
        print_notice(f"The old secrets of {name} are ended.")


@app.command()
def disable(
    name: AppName, undo: Annotated[bool, typer.Option("--undo", help="Let it call again.")] = False
) -> None:
    """Refuse every call of an application; its data stays."""
    tenants = Stores().tenants
    tenants.set_disabled(tenants.by_name(name).id, not undo)
    print_notice(f"{name} is {'active again' if undo else 'disabled'}.")


@app.command()
def challenge(
    name: AppName,
    undo: Annotated[bool, typer.Option("--undo", help="Take an Action alone again.")] = False,
) -> None:
    """Take an application's liveness clips only with a challenge."""
    tenants = Stores().tenants
    tenant = tenants.by_name(name)
    tenants.set_settings(tenant.id, {**tenant.settings, CHALLENGES: not undo})
    print_notice(f"Liveness clips of {name} {'may' if undo else 'must'} answer a challenge.")


def renew(
    tenants: TenantStore, tenant: Tenant, keep_s: float, *, sm2: bool = False,
    sm2_public_key: str | None = None,
) -> Credentials:
    """New secrets for the newest credential of each kind, and a credential of each kind that
    the application does not have. Former secrets and older credentials end in ``keep_s``
    seconds."""
    store = tenants.credentials
    newest = dict(store.public_ids(tenant.id))
    for kind, public_id in newest.items():
        store.retire(tenant.id, kind, keep_s, keep=public_id)

    def renewed(kind: CredentialKind, sm2_public_key: str | None) -> IssuedCredential:
        if kind.name not in newest:
            return store.issue(tenant.id, kind, sm2_public_key)
        return store.rotate(tenant.id, kind, newest[kind.name], keep_s, sm2_public_key)

    return _issue(sm2, sm2_public_key, renewed)


def _issue(
    sm2: bool, sm2_public_key: str | None,
    issue_one: Callable[[CredentialKind, str | None], IssuedCredential],
) -> Credentials:
    """One credential of each kind; with ``sm2`` a key pair is made, of which only the public key
    is stored."""
    private, public = generate_key_pair() if sm2 else ("", sm2_public_key)
    issued = {kind: issue_one(kind, public if kind is SIGNING else None) for kind in KINDS}
    return Credentials.of(issued, sm2_private_key=private, sm2_public_key=public or "")


def _check_key(sm2: bool, sm2_public_key: str | None) -> None:
    if sm2 and sm2_public_key:
        raise InvalidParameter("--sm2 makes a key pair and --sm2-public-key brings one: choose")
    if sm2_public_key:
        parse_public_key(sm2_public_key)


def _newest_sm2_key(tenants: TenantStore, tenant: Tenant) -> str | None:
    """The public key that verifies signatures now."""
    app_id = dict(tenants.credentials.public_ids(tenant.id)).get(SIGNING.name)
    credential = None if app_id is None else tenants.credentials.signing(app_id)
    return None if credential is None else credential.secrets[0].sm2_public_key


def _show(name: str, issued: Credentials, json: bool) -> None:
    if json:
        print_json({"name": name, **issued.members()})
        return
    typer.echo("\n".join(issued.lines()))
    print_notice("Keep the secrets now: they are not shown again.")


# Last, as the help lists them.
app.command("import")(import_app)
for command in (
    settings, wait, limits.limits, limits.operations, limits.allow, limits.deny, limits.expire,
):
    app.command()(command)
