"""Runs an enrolment: checks it, reads the source, watches the batch, reports the result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import typer

from infra.cli.batches.duplicates import show_findings
from infra.cli.batches.progress import progress_display
from infra.cli.batches.stores import BatchStores, choose_tenant
from infra.cli.batches.summary import batch_json, show_summary, write_report
from infra.cli.console import err, print_json, print_notice
from infra.cli.enroll import read_source
from infra.cli.enroll.request import EnrolRequest
from infra.cli.enroll.watch import BatchWatch
from infra.cli.reports import ReportNotWritten
from infra.cli.stop_signals import StopRequest
from infra.local.deployment import Deployment, open_deployment
from pipeline import errors
from pipeline.accounts.model import Tenant
from pipeline.batches.findings import list_findings
from pipeline.batches.model import STOPPED, Batch, fingerprint_of
from pipeline.database.engine import reading
from pipeline.errors import FaceError
from pipeline.gallery.writer import last_model

BATCH_GONE = "the batch is gone: it was forgotten, or its application was deleted, meanwhile"

MAX_FINDINGS = 20  # in a summary

INTERRUPTED = 130  # the exit code that shells use


def enrol(request: EnrolRequest) -> None:
    """Enrol a source, or continue where the same command was interrupted. Raises
    ``typer.Exit`` when it is interrupted, and ``FaceError``."""
    with _opened(request) as (place, stores, stop):
        tenant = choose_tenant(stores, request.tenant, create=not request.settings.database_url)
        fingerprint = fingerprint_of(tenant.id, request.source, request.options)
        batch, is_new = stores.batches.open(tenant.id, fingerprint, request.source, request.options)
        print_notice(f"{'Batch' if is_new else 'Continuing batch'} {batch.id} of {tenant.name!r}")
        _EnrolmentRun(request, place, stores, tenant, stop).run_batch(batch)


def resume(request: EnrolRequest, batch: Batch) -> None:
    """Read a batch's source once more, for the items that are to be read again. Raises as
    ``enrol``."""
    with _opened(request) as (place, stores, stop):
        tenant = stores.tenants.get(batch.tenant_id)
        _EnrolmentRun(request, place, stores, tenant, stop).run_batch(batch)


@contextmanager
def _opened(request: EnrolRequest) -> Iterator[tuple[Deployment, BatchStores, StopRequest]]:
    """What an enrolment runs on, once the request is found to be right."""
    request.check()
    stop = StopRequest()
    stopping = stop.requested.is_set
    try:
        with (
            stop.handle_signals(),
            open_deployment(request.settings, print_notice, stopping, own=request.wait) as place,
            closing(BatchStores(place.settings)) as stores,
        ):
            yield place, stores, stop
    except FaceError:
        # Errors that stopping causes are not reported.
        if not stopping():
            raise
    if stopping():
        raise typer.Exit(INTERRUPTED)


def check_pack(stores: BatchStores, tenant: Tenant) -> None:
    """Raises ``PackMismatch`` when the models on this machine are not those of the gallery;
    ``PackMissing`` when there are none."""
    pack = stores.pack
    with reading(stores.engine) as connection:
        model = last_model(connection, tenant.id)
    if model is not None and model.pack != pack.name:
        raise errors.PackMismatch(
            f"The gallery of {tenant.name!r} was made with the pack {model.pack!r}, but "
            f"{pack.name!r} is served. Serve {model.pack!r} with FACELINE_PACK, or enrol for "
            "another application"
        )


def collection_creator(
    stores: BatchStores, tenant: Tenant, default: str, *, create: bool
) -> Callable[[str], str]:
    """The function that is called once for each collection that items name; with ``create``
    it creates the collection. It returns why that cannot be done, else "". Creates the
    ``default`` at once.

    Raises ``CollectionNotFound`` when the ``default`` does not exist and is not to be
    created, ``InvalidParameter`` and ``CollectionLimit`` when it cannot be created.
    """
    existing = {found.key for found, _ in stores.collections.all(tenant.id)}

    def create_missing(key: str) -> None:
        if not create or not key or key in existing:
            return
        with suppress(errors.CollectionExists):
            stores.collections.create(tenant.id, key, name="")

    def on_collection(key: str) -> str:
        try:
            create_missing(key)
        except (errors.InvalidParameter, errors.CollectionLimit) as error:
            return error.message
        return ""

    if default and default not in existing and not create:
        raise errors.CollectionNotFound(
            f"{tenant.name!r} has no collection {default!r}: --create-collections creates it. "
            f"There are: {', '.join(sorted(existing)[:10])}"
        )
    create_missing(default)
    return on_collection


@dataclass(frozen=True, slots=True)
class _EnrolmentRun:
    request: EnrolRequest
    deployment: Deployment
    stores: BatchStores
    tenant: Tenant
    stop: StopRequest

    def run_batch(self, batch: Batch) -> None:
        reader, watch = self._read_source(batch)
        if reader.error is not None:
            raise _with_advice(batch, reader.error)
        if self.stop.requested.is_set():
            self._explain_how_to_resume(watch)
        elif not (after := self.stores.batches.get(None, batch.id)).ended:
            print_notice(
                "The service has received all items. "
                f"`faceline batches show {batch.id[:8]}` shows the progress."
            )
        else:
            self._report_result(after)
        if watch.source is not None and not self.request.json:
            for line in watch.source.oddities.lines():
                print_notice(line)

    def _read_source(self, batch: Batch) -> tuple[read_source.ReaderThread, BatchWatch]:
        """Read the source into the batch, and watch until the batch has ended."""
        stores, settings = self.stores, self.deployment.settings
        criteria = ""
        if self.deployment.own:
            check_pack(stores, self.tenant)
            criteria = read_source.local_criteria(stores, batch)
        source = read_source.TrackedSource(self.request.open_source(settings), collection_creator(
            stores, self.tenant, batch.options.collection,
            create=self.request.create_collections,
        ))
        limits = read_source.RetryLimits(settings.retry_for_s, 4 * settings.lease_s)
        with read_source.open_reader(stores, batch, source, criteria=criteria) as read:
            reader = read_source.ReaderThread(read, limits)
            watch = BatchWatch(stores.engine, stores.batches, batch, reader, source)
            reader.start()
            try:
                self._watch(watch, reader)
            finally:
                reader.stop()
                reader.join()
        return reader, watch

    def _watch(self, watch: BatchWatch, reader: read_source.ReaderThread) -> None:
        def until() -> bool:
            show(watch.look())
            if self.stop.requested.is_set() or reader.error is not None:
                return True
            return reader.done and (watch.settled or not self.request.wait)

        try:
            with progress_display(err, print_notice) as show:
                self.deployment.watch(until)
        except errors.BatchNotFound as error:
            raise errors.BatchNotFound(BATCH_GONE) from error

    # -- the result -------------------------------------------------------------------

    def _explain_how_to_resume(self, watch: BatchWatch) -> None:
        batch = watch.batch
        with suppress(errors.DatabaseUnavailable):
            batch = self.stores.batches.get(None, batch.id)
        print_notice(
            f"\nStopped: {batch.items - batch.waiting} items have their outcome so far. The same "
            f"command continues:\n{shlex.join(['faceline', *sys.argv[1:]])}"
        )
        if batch.waiting and not self.deployment.own:
            print_notice(f"The service continues with the {batch.waiting} items that it has.")

    def _report_result(self, batch: Batch) -> None:
        """Write the report and print the summary. The report comes first, because a reader
        of the summary may close its pipe; the summary is printed even without the report."""
        report_to = self.request.report_to
        try:
            if report_to is not None:
                write_report(self.stores, batch, report_to)
        except (errors.InvalidParameter, ReportNotWritten) as error:
            raise ReportNotWritten(
                f"{error.message}. Everything else is done: `faceline batches report "
                f"{batch.id[:8]} --to FILE` writes the report"
            ) from error
        finally:
            self._summarize(batch)
        if report_to is not None:
            print_notice(f"{batch.items} items are in {report_to}.")
        elif batch.rejected:
            print_notice(
                "Every item with its reason: "
                f"faceline batches report {batch.id[:8]} --to FILE.csv"
            )
        if batch.state in STOPPED:
            raise errors.BatchCancelled(_cancelled_text(batch))

    def _summarize(self, batch: Batch) -> None:
        reasons = self.stores.batches.reason_counts(batch.id)
        engine = self.stores.engine
        if self.request.json:
            found = [each.to_json() for each in list_findings(engine, batch.id)]
            print_json({**batch_json(batch, self.tenant.name, reasons), "findings": found})
        else:
            show_summary(batch, reasons)
            show_findings(engine, batch, MAX_FINDINGS)


def _cancelled_text(batch: Batch) -> str:
    return (
        f"the batch was cancelled: `faceline batches retry {batch.id[:8]}` continues it, "
        f"`faceline batches forget {batch.id[:8]}` lets its source start anew"
    )


def _with_advice(batch: Batch, error: Exception) -> Exception:
    """The error that ended reading, with advice."""
    if isinstance(error, errors.BatchCancelled):
        return errors.BatchCancelled(_cancelled_text(batch))
    if isinstance(error, errors.BatchNotFound | errors.TenantNotFound):
        return errors.BatchNotFound(BATCH_GONE)
    if isinstance(error, errors.BatchBusy):
        return errors.BatchBusy(
            "another command reads this source: "
            f"`faceline batches show {batch.id[:8]}` shows its progress"
        )
    return error
