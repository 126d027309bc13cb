"""Handing a source's items over to a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from infra.cli.batches.stores import BatchStores
from infra.cli.enroll.reader_thread import ReadSource
from pipeline.batches.model import Batch
from pipeline.bulk.criteria import criteria_fingerprint
from pipeline.bulk.engine import FaceSelection
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    DatabaseUnavailable,
    FaceError,
)
from pipeline.jobs.store import JobStore
from pipeline.sessions import registry
from pipeline.sources.base import PictureSource
from workers.batch_submitter import open_submitter
from workers.dispatch import Dispatcher


@contextmanager
def open_reader(
    stores: BatchStores, batch: Batch, source: PictureSource, *, judged: str = ""
) -> Iterator[ReadSource]:
    """What reads ``source`` into ``batch``; ``criteria`` as ``Submitter`` has it."""
    dispatcher = Dispatcher(stores.settings)
    submitter = open_submitter(stores.settings, stores.batches, stores.media, dispatcher, judged)

    def submit(stopping: Callable[[], bool]) -> None:
        try:
            submitter.run(batch, source, stopping)
        except (BatchBusy, BatchCancelled, BatchNotFound):
            raise
        except FaceError as error:
            # For whoever looks from elsewhere.
            with suppress(DatabaseUnavailable):
                stores.batches.record_source_error(batch.id, error, JobStore(stores.engine))
            raise

    try:
        yield submit
    finally:
        dispatcher.close()


def local_criteria(stores: BatchStores, batch: Batch) -> str:
    """Under what the workers of this machine judge the pictures of a batch. Raises
    ``PackMissing``."""
    wanted = FaceSelection(batch.options.faces, batch.options.gate)
    return criteria_fingerprint(registry.choose(stores.settings), stores.settings, wanted)
