"""Enrolling a whole source: start, watch, stop, tell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import typer

from infra.cli.batches.duplicates import show_findings
from infra.cli.batches.progress import progress_display
from infra.cli.batches.report import announce_report, write_report
from infra.cli.batches.stores import BatchStores, choose_tenant, using_stores
from infra.cli.batches.summary import batch_json, show_summary
from infra.cli.batches.watch import BatchWatch
from infra.cli.console import err, print_json, print_notice
from infra.cli.enroll.checks import check_pack, collection_creator
from infra.cli.enroll.reader_thread import ReaderThread, RetryLimits
from infra.cli.enroll.request import EnrolRequest
from infra.cli.enroll.submit import local_criteria, open_reader
from infra.cli.enroll.tracked_source import TrackedSource
from infra.cli.reports import ReportNotWritten
from infra.cli.stop_signals import StopRequest
from infra.local.deployment import Deployment, open_deployment
from pipeline.accounts.model import Tenant
from pipeline.batches.duplicate_search import list_findings
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
from pipeline.sources.base import PictureSource
from pipeline.sources.open import SourceOptions, open_source

BATCH_GONE = "the batch is gone: it was forgotten, or its application deleted, meanwhile"

MAX_FINDINGS = 20  # that a summary shows

INTERRUPTED = 130  # the exit code, as a shell says it


def enrol(run: EnrolRequest) -> None:
    """Enrol a source, or go on where the same command was interrupted. Raises
    ``typer.Exit`` when it is interrupted, and ``FaceError``."""
    run.check()
    with _running_stack(run) as (place, stop), using_stores(place.settings) as stores:
        tenant = choose_tenant(stores, run.tenant, create=not run.settings.database_url)
        mark = fingerprint_of(tenant.id, run.source, run.options)
        batch, fresh = stores.batches.open(tenant.id, mark, run.source, run.options)
        print_notice(f"{'Batch' if fresh else 'Going on with batch'} {batch.id} of {tenant.name!r}")
        _EnrolmentRun(run, place, stores, tenant, stop).run_batch(batch)


def resume(run: EnrolRequest, batch: Batch) -> None:
    """Read a batch's source once more, for the items that are to be read again. Raises as
    ``enrol``."""
    run.check()
    with _running_stack(run) as (place, stop), using_stores(place.settings) as stores:
        tenant = stores.tenants.get(batch.tenant_id)
        _EnrolmentRun(run, place, stores, tenant, stop).run_batch(batch)


@contextmanager
def _running_stack(run: EnrolRequest) -> Iterator[tuple[Deployment, StopRequest]]:
    stop = StopRequest()
    stopping = stop.requested.is_set
    try:
        with (
            stop.handle_signals(),
            open_deployment(run.settings, print_notice, stopping, own=run.wait) as place,
        ):
            yield place, stop
    except FaceError:
        # What fails because it is being stopped is no error.
        if not stopping():
            raise
    if stopping():
        raise typer.Exit(INTERRUPTED)


@dataclass(frozen=True, slots=True)
class _EnrolmentRun:
    run: EnrolRequest
    deployment: Deployment
    stores: BatchStores
    tenant: Tenant
    stop: StopRequest

    def run_batch(self, batch: Batch) -> None:
        feeding, watch = self._read_source(batch)
        if feeding.error is not None:
            raise _with_advice(batch, feeding.error)
        if self.stop.requested.is_set():
            self._explain_how_to_resume(watch)
        elif not (seen := self.stores.batches.get(None, batch.id)).ended:
            print_notice(
                f"All is handed over. `faceline batches show {batch.id[:8]}` tells how far it is."
            )
        else:
            self._report_result(seen)

    def _read_source(self, batch: Batch) -> tuple[ReaderThread, BatchWatch]:
        """Read the source into the batch, and watch until it has ended."""
        stores, settings = self.stores, self.deployment.settings
        judged = ""
        if self.deployment.own:
            check_pack(stores, self.tenant)
            judged = local_criteria(stores, batch)
        source = TrackedSource(self._open_source(), collection_creator(
            stores, self.tenant, batch.options.collection, create=self.run.create_collections
        ))
        with open_reader(stores, batch, source, judged=judged) as submit:
            feeding = ReaderThread(submit, RetryLimits(settings.retry_for_s, 4 * settings.lease_s))
            watch = BatchWatch(stores.engine, stores.batches, batch, feeding, source)
            feeding.start()
            try:
                self._watch(watch, feeding)
            finally:
                feeding.stop()
                feeding.join()
        return feeding, watch

    def _open_source(self) -> PictureSource:
        options = self.run.options
        return open_source(
            self.run.source,
            SourceOptions(options.layout, options.anywhere, options.encoding, options.bucket),
            self.deployment.settings,
        )

    def _watch(self, watch: BatchWatch, feeding: ReaderThread) -> None:
        def until() -> bool:
            show(watch.look())
            if self.stop.requested.is_set() or feeding.error is not None:
                return True
            return feeding.done and (watch.settled or not self.run.wait)

        try:
            with progress_display(err, print_notice) as show:
                self.deployment.watch(until)
        except BatchNotFound as error:
            raise BatchNotFound(BATCH_GONE) from error

    # -- telling --------------------------------------------------------------------

    def _explain_how_to_resume(self, watch: BatchWatch) -> None:
        batch = watch.batch
        with suppress(DatabaseUnavailable):
            batch = self.stores.batches.get(None, batch.id)
        ended = batch.items - batch.waiting
        print_notice(
            f"\nStopped: {ended} items have their outcome so far. The same command goes on:\n"
            f"{shlex.join(['faceline', *sys.argv[1:]])}"
        )
        if batch.waiting and not self.deployment.own:
            print_notice(f"The service goes on with {batch.waiting} items that it was handed.")

    def _report_result(self, batch: Batch) -> None:
        """Also when the report cannot be written, which comes first: whoever reads the
        summary through a pipe may close it."""
        try:
            if self.run.report_to is not None:
                write_report(self.stores, batch, self.run.report_to)
        except (InvalidParameter, ReportNotWritten) as error:
            raise ReportNotWritten(
                f"{error.message}. All else is done: `faceline batches report {batch.id[:8]} --to "
                "FILE` writes it"
            ) from error
        finally:
            self._summarize(batch)
        if self.run.report_to is not None:
            announce_report(batch, self.run.report_to)
        elif batch.rejected:
            print_notice(
                f"Every item with its reason: faceline batches report {batch.id[:8]} --to FILE.csv"
            )
        if batch.state in STOPPED:
            raise BatchCancelled(_cancelled_text(batch))

    def _summarize(self, batch: Batch) -> None:
        reasons = self.stores.batches.reason_counts(batch.id)
        engine = self.stores.engine
        if self.run.json:
            found = [each.to_json() for each in list_findings(engine, batch.id)]
            print_json({**batch_json(batch, self.tenant.name, reasons), "findings": found})
        else:
            show_summary(batch, reasons)
            show_findings(engine, batch, MAX_FINDINGS)


def _cancelled_text(batch: Batch) -> str:
    return (
        f"the batch was cancelled: `faceline batches retry {batch.id[:8]}` takes it up again, "
        f"`faceline batches forget {batch.id[:8]}` makes its source new"
    )


def _with_advice(batch: Batch, error: Exception) -> Exception:
    """What became of the reading of a batch, with what to do about it."""
    if isinstance(error, BatchCancelled):
        return BatchCancelled(_cancelled_text(batch))
    if isinstance(error, BatchNotFound | TenantNotFound):
        return BatchNotFound(BATCH_GONE)
    if isinstance(error, BatchBusy):
        return BatchBusy(
            f"another command reads this source: `faceline batches show {batch.id[:8]}` tells how "
            "far it is"
        )
    return error
