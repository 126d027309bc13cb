"""The interface through which a view reads the gallery, and shared types of the index.

The gallery in SQL is the source of truth; an index is a view of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """A label found by a search, and the cosine between its vector and the probe."""

    label: int
    cosine: float


class ChangeSource(Protocol):
    """The reads of a view from the gallery.

    Every method raises ``DatabaseUnavailable`` when the database does not answer.
    """

    def latest(self, tenant_id: int) -> int:
        """The number of the tenant's last change; 0 when there is none."""

    def changed(self, tenant_id: int, after: int, limit: int) -> list[tuple[int, int]]:
        """(number, label) of the changes after the number ``after``, in order, at most
        ``limit``."""

    def entries(self, tenant_id: int, labels: Sequence[int]) -> list[IndexEntry]:
        """The current state of those ``labels`` that still exist."""

    def all_entries(self, tenant_id: int) -> Iterator[IndexEntry]:
        """Every entry of the tenant in order of its label, read in pages."""

    def live_collections(self, tenant_id: int) -> frozenset[int]:
        """The ids of the tenant's collections."""

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        """The model that computed the gallery's vectors; None for an empty gallery."""

    def record_snapshot(self, record: SnapshotRecord) -> SnapshotRecord:
        """Insert ``record`` (with ``id`` 0) as the newest snapshot; returns it with its id."""

    def snapshots(self, tenant_id: int) -> list[SnapshotRecord]:
        """The recorded snapshots, by falling number, then by falling time of writing."""

    def discard_snapshot(self, record: SnapshotRecord) -> None:
        """Delete the record of a snapshot, if it exists. The caller deletes its objects
        afterwards."""
