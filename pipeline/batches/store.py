"""Batches and their items in SQL."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from pipeline.batches.model import (
    Batch,
    BatchItem,
    BatchPage,
    ItemState,
    JsonObject,
    KnownItem,
    KnownPicture,
    NewItem,
    Options,
)
from pipeline.jobs.model import Job
from pipeline.jobs.store import JobStore
from pipeline.secrets import KeySource


@dataclass(frozen=True, slots=True)
class Added:
    """A batch after items were added to it, and the jobs that enrol them."""

    batch: Batch
    jobs: tuple[Job, ...]


class BatchStore:
    """All that is done to batches but the end of a chunk (``settling``). ``clock`` gives
    epoch seconds. Every method may raise ``DatabaseUnavailable``."""

    def __init__(
        self, engine: Engine, clock: Callable[[], float] = time.time,
        keys: KeySource | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = keys

    # -- whoever starts or looks ----------------------------------------------------

    def open(
        self, tenant_id: int, fingerprint: str, source: str, options: Options
    ) -> tuple[Batch, bool]:
        """(the batch, True) when it is new, else (the earlier one, False). Raises
        ``TenantNotFound``."""
        raise NotImplementedError

    def get(self, tenant_id: int | None, batch_id: str) -> Batch:
        """A tenant's batch; None: anybody's. Raises ``BatchNotFound``."""
        raise NotImplementedError

    def listed(
        self, tenant_id: int | None = None, *, offset: int = 0, limit: int = 50
    ) -> BatchPage:
        """Batches, newest first."""
        raise NotImplementedError

    def items(
        self, batch_id: str, *, after: int = 0, limit: int = 1000,
        state: ItemState | None = None, reason: str | None = None,
    ) -> list[BatchItem]:
        """Items past the number ``after`` in their order."""
        raise NotImplementedError

    def reasons(self, batch_id: str) -> Counter[tuple[ItemState, str]]:
        """How many items ended for each reason; reads the index of those that did."""
        raise NotImplementedError

    def in_flight(self, batch_id: str) -> int:
        """How many jobs of the batch have not ended."""
        raise NotImplementedError

    # -- the one submitter ----------------------------------------------------------

    def take_over(self, batch_id: str, submitter: str, lease_s: float) -> Batch:
        """Become the one who reads the batch's source, from its beginning.

        Raises ``BatchBusy`` while another one does, ``BatchNotFound``, ``BatchCancelled``.
        """
        raise NotImplementedError

    def renew(
        self, batch_id: str, submitter: str, lease_s: float, position: float | None = None
    ) -> Batch:
        """Say that the submitter is alive, and how much (0 to 1) he has read. Raises
        ``BatchBusy`` when he has lost the batch, ``BatchNotFound``, ``BatchCancelled``."""
        raise NotImplementedError

    def let_go(self, batch_id: str, submitter: str) -> None:
        """Stop reading; the batch stays as it is."""
        raise NotImplementedError

    def unattended(self) -> list[Batch]:
        """Batches that the service is to read itself and nobody reads."""
        raise NotImplementedError

    def known_names(self, batch: Batch, names: Sequence[str]) -> dict[str, KnownItem]:
        """Those of the names (at most some hundreds) that are items of the batch."""
        raise NotImplementedError

    def known_pictures(
        self, batch: Batch, hashes: Sequence[str], judged: str = ""
    ) -> dict[str, KnownPicture]:
        """What is known of pictures by their ``sha256``; ``judged`` is the fingerprint
        under which one that was unfit would be again, empty: none would."""
        raise NotImplementedError

    def add(
        self, batch: Batch, submitter: str, items: Sequence[NewItem], *, chunk: int
    ) -> Added:
        """Record items, and jobs for those that wait, ``chunk`` items each, in one
        transaction. Duplicates of enrolled pictures are bound to their collections.

        Raises ``BatchBusy`` when the submitter has lost the batch (nothing is recorded),
        ``BatchNotFound``, ``BatchCancelled``.
        """
        raise NotImplementedError

    def exhaust(self, batch_id: str, submitter: str, total: int | None = None) -> Batch:
        """The source is read to its end: the batch is done when nothing waits. Raises as
        ``renew``."""
        raise NotImplementedError

    # -- the operator's side ----------------------------------------------------------

    def cancel(self, tenant_id: int | None, batch_id: str, jobs: JobStore) -> Batch:
        """End a batch: what waits is cancelled, with its jobs and its objects; what is
        enrolled stays. Raises ``BatchNotFound``."""
        raise NotImplementedError

    def retry(
        self, tenant_id: int | None, batch_id: str, *,
        states: Sequence[ItemState] = (ItemState.REJECTED, ItemState.CANCELLED),
        reasons: Sequence[str] | None = None,
    ) -> int:
        """Have rejected and cancelled items (for these reasons, None: for any) read again
        by the next submitter; how many. Raises ``BatchNotFound``."""
        raise NotImplementedError

    def forget(self, tenant_id: int | None, batch_id: str) -> None:
        """Remove a batch's record; what it enrolled stays. Raises ``BatchNotFound``,
        ``BatchBusy`` while items of it wait."""
        raise NotImplementedError

    def expire(self, older_than_s: float, limit: int = 10) -> int:
        """Remove batches that ended at least so long ago; how many."""
        raise NotImplementedError

    def set_findings(self, batch_id: str, findings: JsonObject) -> None:
        """Keep what was found in a batch that is done."""
        raise NotImplementedError
