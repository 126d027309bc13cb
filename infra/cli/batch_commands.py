"""``faceline batches``: lists, shows and ends batches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli.arguments import RECENT, Json, Limit, Yes, only_match
from infra.cli.batches.duplicates import show_findings
from infra.cli.batches.stores import BatchStores
from infra.cli.batches.summary import batch_json, show_batch, show_list, write_report
from infra.cli.console import print_json, print_notice
from infra.cli.enroll.request import EnrolRequest
from pipeline.batches.duplicate_search import restart_failed
from pipeline.batches.findings import list_findings
from pipeline.batches.model import Batch
from pipeline.batches.report import COLUMNS, report_rows
from pipeline.errors import BatchNotFound
from pipeline.jobs.store import JobStore
from pipeline.spreadsheets import csv_writer, json_writer

app = typer.Typer(help="Batches: whole sources and what became of them.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(help="The batch's id, or the beginning of it.")]
Tenant = Annotated[str | None, typer.Option(help="Only batches of this application.")]
MAX_FINDINGS, MAX_JSON_FINDINGS = 100, 25_000  # in a table, in JSON


def _find(beginning: str) -> tuple[BatchStores, Batch]:
    """The stores, and the batch with this id, or the only recent one whose id begins with it.
    Raises ``BatchNotFound``."""
    stores = BatchStores()
    if exact := stores.batches.find(beginning):
        return stores, exact
    recent = stores.batches.page(limit=RECENT).batches
    return stores, only_match(beginning, recent, "batch", BatchNotFound)


@app.command("list")
def list_batches(tenant: Tenant = None, limit: Limit = 20, json: Json = False) -> None:
    """The newest batches, newest first."""
    stores = BatchStores()
    chosen = None if tenant is None else stores.tenants.by_name(tenant).id
    page = stores.batches.page(chosen, limit=limit)
    names = {each.id: each.name for each in stores.tenants.all()}
    if json:
        print_json([batch_json(batch, names[batch.tenant_id]) for batch in page.batches])
        return
    if page.batches:
        show_list(page.batches, names)
    print_notice(f"In all: {page.total}.")


@app.command()
def show(batch_id: BatchId, json: Json = False) -> None:
    """One batch: its progress, the reasons of rejected items, people with two names."""
    stores, batch = _find(batch_id)
    reasons = stores.batches.reason_counts(batch.id)
    waits_for = stores.batches.waiting_reason(batch)
    name = stores.tenants.get(batch.tenant_id).name
    if json:
        found = list_findings(stores.engine, batch.id, limit=MAX_JSON_FINDINGS)
        print_json({
            **batch_json(batch, name, reasons),
            "waits_for": None if waits_for is None else waits_for.to_json(),
            "findings": [each.to_json() for each in found],
        })
    else:
        show_batch(batch, reasons, name, waits_for)
        show_findings(stores.engine, batch, MAX_FINDINGS)


@app.command()
def retry(
    batch_id: BatchId,
    reason: Annotated[
        list[str] | None, typer.Option(help="Only items rejected for this reason; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="As in `faceline enroll`.")] = True,
    json: Json = False,
) -> None:
    """Read rejected and cancelled items again and enrol those that can be enrolled now."""
    stores, batch = _find(batch_id)
    count = stores.batches.retry(None, batch.id, reasons=reason or None)
    print_notice(f"{count} items will be read again.")
    if batch.options.unattended and not stores.batches.get(None, batch.id).ended:
        print_notice("Upkeep continues to read its source.")
    if restart_failed(stores.engine, batch.id):
        print_notice("The search for duplicate people will run again.")
    # Also when an earlier call that marked items was interrupted.
    is_open = not stores.batches.get(None, batch.id).ended
    if is_open and not batch.options.unattended:
        from infra.cli.enroll.run import resume  # imports Celery and OpenCV

        asked = EnrolRequest(stores.settings, batch.source, batch.options, wait=wait, json=json)
        resume(asked, batch)


@app.command()
def cancel(batch_id: BatchId) -> None:
    """End a batch: waiting items are cancelled, enrolled ones stay."""
    stores, batch = _find(batch_id)
    ended = stores.batches.cancel(None, batch.id, JobStore(stores.engine))
    if batch.ended:
        print_notice(f"Batch {batch.id} had already ended: it is {batch.state.value}.")
    else:
        print_notice(
            f"Batch {ended.id} is cancelled: {ended.enrolled} items are enrolled and stay, "
            f"{ended.cancelled} are cancelled."
        )


@app.command("report")
def report(
    batch_id: BatchId,
    to: Annotated[
        Path | None, typer.Option("--to", help="A .csv or .jsonl file; default: stdout.")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="The format on stdout.")
    ] = "csv",
) -> None:
    """A line for every item: outcome, reason, ids."""
    stores, batch = _find(batch_id)
    if to is not None:
        write_report(stores, batch, to)
        print_notice(f"{batch.items} items are in {to}.")
        return
    write = (csv_writer if form == "csv" else json_writer)(sys.stdout, COLUMNS)
    for row in report_rows(stores.engine, stores.batches, batch.id):
        write(row)


@app.command()
def forget(batch_id: BatchId, yes: Yes = False) -> None:
    """Remove the record of a batch; what it enrolled stays. Its source then counts as new."""
    stores, batch = _find(batch_id)
    if not yes:
        typer.confirm(f"Forget {batch.source} with {batch.items} items?", abort=True, err=True)
    stores.batches.forget(None, batch.id)
    print_notice(f"Batch {batch.id} is forgotten.")
