"""``faceline apps``: applications and their credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from api_shim.auth.issuing import KEEP_H, check_sm2, end_former, issue, renew
from infra.cli import limits
from infra.cli.app_import import import_app
from infra.cli.app_settings import Chosen, Profile, read_texts, settings, wait
from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.accounts.credential_set import KINDS, Credentials
from pipeline.accounts.model import CHALLENGES
from pipeline.errors import InvalidParameter

app = typer.Typer(help="Applications and their credentials.", no_args_is_help=True)

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
    check_sm2(sm2, sm2_public_key)
    choices = read_texts(profile, chosen)
    stores = Stores()
    tenants = stores.tenants
    tenant = tenants.create(name, choices, encrypted=stores.settings.encrypt_at_rest)
    issued = issue(tenants.credentials, tenant.id, make_sm2=sm2, sm2_public_key=sm2_public_key)
    _show(name, issued, json)


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
    check_sm2(sm2, sm2_public_key)
    if now and finish:
        raise InvalidParameter("--now issues new credentials and --finish does not: choose one")
    tenants = Stores().tenants
    tenant = tenants.by_name(name)
    if finish:
        ended = end_former(tenants.credentials, tenant.id)
        print_notice(f"{ended} old secrets of {name} are ended.")
        return
    hours = 0.0 if now else keep
    issued = renew(
        tenants.credentials, tenant.id, hours * 3600, make_sm2=sm2, sm2_public_key=sm2_public_key
    )
    _show(name, issued, json)
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
