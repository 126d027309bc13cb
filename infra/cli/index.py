"""``faceline index``: state, verification and snapshots of the indexes."""

from __future__ import annotations

from typing import Any

import typer

from infra.cli.arguments import Json, OptionalAppName
from infra.cli.console import local_time, print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.accounts.model import Tenant
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.galleries import GalleryStore
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.index.verify import IndexDifference

app = typer.Typer(help="Indexes: state, check, new snapshots.", no_args_is_help=True)

SHOWN = 5  # differing labels that are printed


def _view(tenant: Tenant, stores: Stores) -> TenantView:
    """A new view, loaded as an index process would."""
    log, options = ChangeLog(stores.engine, stores.keys), ViewOptions.from_settings(stores.settings)
    return TenantView(tenant.id, log, stores.media, options)


@app.command()
def status(name: OptionalAppName = None, json: Json = False) -> None:
    """Show the galleries, their change logs and their snapshots."""
    stores = Stores()
    rows = [_state(tenant, stores) for tenant in stores.chosen_tenants(name)]
    if json:
        print_json(rows)
        return
    columns = ("app", "faces", "pack", "changes", "snapshot", "behind", "engine", "written")
    shown = [{**row, "written": local_time(row["written"])} for row in rows]
    print_table(columns, ([row[column] for column in columns] for row in shown))


def _state(tenant: Tenant, stores: Stores) -> dict[str, Any]:
    stats = GalleryStore(stores.engine, stores.media).stats(tenant.id)
    newest = next(iter(ChangeLog(stores.engine).snapshots(tenant.id)), None)
    return {
        "app": tenant.name, "faces": stats.faces,
        "pack": stats.model.pack if stats.model else None,
        "changes": stats.last_change,
        "snapshot": newest.number if newest else None,
        "behind": stats.last_change - newest.number if newest else None,
        "engine": newest.engine if newest else None,
        "written": newest.created_at if newest else None,
    }


@app.command()
def verify(name: OptionalAppName = None) -> None:
    """Load the newest snapshot and the log as an index process does, and compare every vector
    with the database. Exit code 1 when they differ."""
    stores = Stores()
    wrong = False
    for tenant in stores.chosen_tenants(name):
        view = _view(tenant, stores)
        view.open()
        found = view.verify()
        wrong |= bool(found)
        print_notice(f"{tenant.name}: {len(view)} vectors{_told(found)}.")
    if wrong:
        print_notice("Run `faceline index rebuild`, then restart the index processes.")
        raise typer.Exit(1)


def _told(found: IndexDifference) -> str:
    if not found:
        return " equal the database"
    kinds = {"missing": found.missing, "too many": found.extra, "altered": found.altered}
    return "".join(
        f"; {len(labels)} {what}, the first: {', '.join(map(str, labels[:SHOWN]))}"
        for what, labels in kinds.items() if labels
    )


@app.command()
def rebuild(name: OptionalAppName = None) -> None:
    """Build indexes from the database and write snapshots, which index processes load at their
    next start."""
    stores = Stores()
    for tenant in stores.chosen_tenants(name):
        view = _view(tenant, stores)
        number = view.rebuild()
        record = view.snapshot()
        told = "nothing is enrolled" if record is None else (
            f"{record.count} vectors up to change {number} ({record.engine})"
        )
        print_notice(f"{tenant.name}: {told}.")
