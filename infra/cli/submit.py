"""Handing a source's items over to a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from infra.cli.batch_stores import BatchStores
from infra.cli.feeding import Submit
from pipeline.batches.model import Batch
from pipeline.bulk.engine import Wanted
from pipeline.bulk.judging import judged_under
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    DatabaseUnavailable,
    FaceError,
)
from pipeline.jobs.store import JobStore
from pipeline.sessions import registry
from pipeline.sources.base import Source
from workers.dispatch import Dispatcher
from workers.submitting import open_submitter


@contextmanager
def submitting(
    stores: BatchStores, batch: Batch, source: Source, *, judged: str = ""
) -> Iterator[Submit]:
    """What reads ``source`` into ``batch``; ``judged`` as ``Submitter`` has it."""
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
                stores.batches.note_trouble(batch.id, error, JobStore(stores.engine))
            raise

    try:
        yield submit
    finally:
        dispatcher.close()


def judged_here(stores: BatchStores, batch: Batch) -> str:
    """Under what the workers of this machine judge the pictures of a batch. Raises
    ``PackMissing``."""
    wanted = Wanted(batch.options.faces, batch.options.gate)
    return judged_under(registry.choose(stores.settings), stores.settings, wanted)
