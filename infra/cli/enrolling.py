"""Enrolling a whole source: start, watch, stop, tell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import typer

from infra.cli.batch_findings import show_findings
from infra.cli.batch_progress import showing
from infra.cli.batch_report import say_where, write_report
from infra.cli.batch_stores import BatchStores, chosen_tenant, opened_stores
from infra.cli.batch_summary import batch_json, show_summary
from infra.cli.batch_watch import BatchWatch
from infra.cli.console import err, print_json, say
from infra.cli.enrol_checks import check_pack, collection_maker
from infra.cli.feeding import Feeding, Patience
from infra.cli.reports import NotWritten
from infra.cli.run import Run
from infra.cli.stopping import Stop
from infra.cli.submit import judged_here, submitting
from infra.cli.watched import WatchedSource
from infra.local.deployment import Deployment, deployment
from pipeline.batches.found import list_findings
from pipeline.batches.model import STOPPED, Batch, fingerprint_of
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    DatabaseUnavailable,
    FaceError,
    InvalidParameter,
    TenantNotFound,
)
from pipeline.gallery.tenants import Tenant
from pipeline.sources.base import Source
from pipeline.sources.open import SourceOptions, open_source

GONE = "the batch is gone: it was forgotten, or its application deleted, meanwhile"

MOST_FINDINGS = 20  # that a summary shows

INTERRUPTED = 130  # the exit code, as a shell says it


def enrol(run: Run) -> None:
    """Enrol a source, or go on where the same command was interrupted. Raises
    ``typer.Exit`` when it is interrupted, and ``FaceError``."""
    run.check()
    with _placed(run) as (place, stop), opened_stores(place.settings) as stores:
        tenant = chosen_tenant(stores, run.tenant, make=not run.settings.database_url)
        mark = fingerprint_of(tenant.id, run.source, run.options)
        batch, fresh = stores.batches.open(tenant.id, mark, run.source, run.options)
        say(f"{'Batch' if fresh else 'Going on with batch'} {batch.id} of {tenant.name!r}")
        _Enrolment(run, place, stores, tenant, stop).carry_out(batch)


def go_on(run: Run, batch: Batch) -> None:
    """Read a batch's source once more, for the items that are to be read again. Raises as
    ``enrol``."""
    run.check()
    with _placed(run) as (place, stop), opened_stores(place.settings) as stores:
        tenant = stores.tenants.get(batch.tenant_id)
        _Enrolment(run, place, stores, tenant, stop).carry_out(batch)


@contextmanager
def _placed(run: Run) -> Iterator[tuple[Deployment, Stop]]:
    stop = Stop()
    stopping = stop.requested.is_set
    try:
        with (
            stop.installed(),
            deployment(run.settings, say, stopping, own=run.wait) as place,
        ):
            yield place, stop
    except FaceError:
        # What fails because it is being stopped is no error.
        if not stopping():
            raise
    if stopping():
        raise typer.Exit(INTERRUPTED)


@dataclass(frozen=True, slots=True)
class _Enrolment:
    run: Run
    place: Deployment
    stores: BatchStores
    tenant: Tenant
    stop: Stop

    def carry_out(self, batch: Batch) -> None:
        feeding, watch = self._fed(batch)
        if feeding.error is not None:
            raise _explained(batch, feeding.error)
        if self.stop.requested.is_set():
            self._tell_how_to_go_on(watch)
        elif not (seen := self.stores.batches.get(None, batch.id)).ended:
            say(f"All is handed over. `faceline batches show {batch.id[:8]}` tells how far it is.")
        else:
            self._tell(seen)

    def _fed(self, batch: Batch) -> tuple[Feeding, BatchWatch]:
        """Read the source into the batch, and watch until it has ended."""
        stores, settings = self.stores, self.place.settings
        judged = ""
        if self.place.own:
            check_pack(stores, self.tenant)
            judged = judged_here(stores, batch)
        source = WatchedSource(self._opened_source(), collection_maker(
            stores, self.tenant, batch.options.collection, make=self.run.create_collections
        ))
        with submitting(stores, batch, source, judged=judged) as submit:
            feeding = Feeding(submit, Patience(settings.retry_for_s, 4 * settings.lease_s))
            watch = BatchWatch(stores.engine, stores.batches, batch, feeding, source)
            feeding.start()
            try:
                self._watch(watch, feeding)
            finally:
                feeding.stop()
                feeding.join()
        return feeding, watch

    def _opened_source(self) -> Source:
        options = self.run.options
        return open_source(
            self.run.source,
            SourceOptions(options.layout, options.anywhere, options.encoding, options.bucket),
            self.place.settings,
        )

    def _watch(self, watch: BatchWatch, feeding: Feeding) -> None:
        def until() -> bool:
            show(watch.look())
            if self.stop.requested.is_set() or feeding.error is not None:
                return True
            return feeding.done and (watch.settled or not self.run.wait)

        try:
            with showing(err, say) as show:
                self.place.watch(until)
        except BatchNotFound as error:
            raise BatchNotFound(GONE) from error

    # -- telling --------------------------------------------------------------------

    def _tell_how_to_go_on(self, watch: BatchWatch) -> None:
        batch = watch.batch
        with suppress(DatabaseUnavailable):
            batch = self.stores.batches.get(None, batch.id)
        ended = batch.items - batch.waiting
        say(f"\nStopped: {ended} items have their outcome so far. The same command goes on:\n"
            f"{shlex.join(['faceline', *sys.argv[1:]])}")
        if batch.waiting and not self.place.own:
            say(f"The service goes on with {batch.waiting} items that it was handed.")

    def _tell(self, batch: Batch) -> None:
        """Also when the report cannot be written, which comes first: whoever reads the
        summary through a pipe may close it."""
        try:
            if self.run.report_to is not None:
                write_report(self.stores, batch, self.run.report_to)
        except (InvalidParameter, NotWritten) as error:
            raise NotWritten(
                f"{error.message}. All else is done: `faceline batches report {batch.id[:8]} --to "
                "FILE` writes it"
            ) from error
        finally:
            self._summarize(batch)
        if self.run.report_to is not None:
            say_where(batch, self.run.report_to)
        elif batch.rejected:
            say(f"Every item with its reason: faceline batches report {batch.id[:8]} --to FILE.csv")
        if batch.state in STOPPED:
            raise BatchCancelled(_cancelled(batch))

    def _summarize(self, batch: Batch) -> None:
        reasons = self.stores.batches.reasons(batch.id)
        engine = self.stores.engine
        if self.run.json:
            found = [each.shown() for each in list_findings(engine, batch.id)]
            print_json({**batch_json(batch, self.tenant.name, reasons), "findings": found})
        else:
            show_summary(batch, reasons)
            show_findings(engine, batch, MOST_FINDINGS)


def _cancelled(batch: Batch) -> str:
    return (
        f"the batch was cancelled: `faceline batches retry {batch.id[:8]}` takes it up again, "
        f"`faceline batches forget {batch.id[:8]}` makes its source new"
    )


def _explained(batch: Batch, error: Exception) -> Exception:
    """What became of the reading of a batch, with what to do about it."""
    if isinstance(error, BatchCancelled):
        return BatchCancelled(_cancelled(batch))
    if isinstance(error, BatchNotFound | TenantNotFound):
        return BatchNotFound(GONE)
    if isinstance(error, BatchBusy):
        return BatchBusy(
            f"another command reads this source: `faceline batches show {batch.id[:8]}` tells how "
            "far it is"
        )
    return error
