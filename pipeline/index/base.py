"""What an index is and where it learns of changes: two seams.

The gallery is the truth, an index a view of it. ``ChangeSource`` is what a view must be
able to ask the gallery; ``Index`` is what every engine can do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.types import IndexEntry, SnapshotRecord, VectorModel

Vectors = NDArray[np.float32]
"""Rows of unit length, shape (count, dimension), float32."""

Labels = NDArray[np.int64]
"""Labels, shape (count,), int64."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A label that a search found, and the cosine between its vector and the probe."""

    label: int
    cosine: float


class ChangeSource(Protocol):
    """The gallery, as far as a view needs it.

    Every method raises ``DatabaseUnavailable`` when the truth does not answer.
    """

    def latest(self, tenant_id: int) -> int:
        """The number of the tenant's last change; 0 before the first."""
        ...

    def changed(self, tenant_id: int, after: int, limit: int) -> list[tuple[int, int]]:
        """(number, label) of the changes past ``after``, in order, at most ``limit``."""
        ...

    def entries(self, tenant_id: int, labels: Sequence[int]) -> list[IndexEntry]:
        """The present state of those ``labels`` that still exist."""
        ...

    def all_entries(self, tenant_id: int) -> Iterator[IndexEntry]:
        """Every label of the tenant in rising order, read in portions."""
        ...

    def live_collections(self, tenant_id: int) -> frozenset[int]:
        """The ids of the tenant's collections."""
        ...

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        """What made the gallery's vectors; None while nothing is enrolled."""
        ...

    def record_snapshot(self, record: SnapshotRecord) -> SnapshotRecord:
        """Keep ``record`` (with ``id`` 0) as the newest snapshot; it comes back with
        its id."""
        ...

    def snapshots(self, tenant_id: int) -> list[SnapshotRecord]:
        """The recorded snapshots, the highest number first, and the last written first
        among equals."""
        ...

    def discard_snapshot(self, record: SnapshotRecord) -> None:
        """Forget a snapshot; it is no error when it is forgotten already. Its objects
        are deleted by the caller, afterwards."""
        ...


class Index(Protocol):
    """The vectors of one tenant, in memory.

    An index is not locked: ``TenantView`` lets one writer in at a time, without readers.
    """

    @property
    def engine(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def __len__(self) -> int:
        """How many labels it holds."""
        ...

    def labels(self) -> Labels:
        """All labels, in rising order."""
        ...

    def upsert(self, entries: Iterable[IndexEntry]) -> None:
        """Take new labels in, and new collections for those it has.

        Raises ``BadVector`` for a vector that is not finite or not of unit length, and
        takes none of the entries then.
        """
        ...

    def remove(self, labels: Iterable[int]) -> None:
        """Forget labels, and overwrite their vectors; unknown ones are no error."""
        ...

    def search(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None
    ) -> list[list[Hit]]:
        """For each probe the ``k`` labels with the highest cosine, best first, equal
        ones by label; only labels in one of ``collections``, where these are given."""
        ...
