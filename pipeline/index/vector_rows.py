"""The rows of an index: vectors, labels and collections in parallel arrays.

Vectors that are equal bit for bit share one row with several labels. Otherwise a client that enrols
one picture again and again would crowd all other faces out of graphs and short lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadVector, SnapshotUnusable
from pipeline.index.base import Hit, Labels, Vectors
from pipeline.types import IndexEntry

FIRST_CAPACITY = 1024  # rows; doubles when full
OBJECT_BYTES_PER_ROW = 250
"""Bytes per row outside the arrays: entries in two dictionaries, which are half empty after
they have grown, and their integers."""

COLLECTION_SLOTS = 64
"""Collections with a bit of their own in the masks."""

UNIT_TOLERANCE = 2e-3  # of a vector's length; the gallery allows half of it
FREE_LABEL = 0
"""The label of an unused row; labels of the gallery start at 1."""

Scalar = TypeVar("Scalar", bound=np.generic)
Arrays = dict[str, NDArray[Any]]

RowMask = NDArray[np.bool_]
"""The rows that a search considers, shape (end,)."""


class VectorRows:
    """Growing arrays with one row per distinct vector.

    A freed row is overwritten with zeros and reused; labels are never reused. ``end`` is
    one past the last row in use.
    """

    def __init__(self, dimension: int, capacity: int = FIRST_CAPACITY) -> None:
        self.dimension = dimension
        self.end = 0
        self.vectors: Vectors = np.zeros((capacity, dimension), np.float32)
        self._labels: Labels = np.zeros(capacity, np.int64)
        self._masks: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        self._digests: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._free_rows: list[int] = []
        self._row_of: dict[int, int] = {}
        self._row_of_digest: dict[int, int] = {}
        # row -> label -> mask, for rows with more than one label
        self._shared_labels: dict[int, dict[int, int]] = {}
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def capacity(self) -> int:
        return len(self._labels)

    @property
    def used(self) -> int:
        """The number of rows with a vector."""
        return self.end - len(self._free_rows)

    @property
    def free(self) -> int:
        """The number of rows below ``end`` without a vector."""
        return len(self._free_rows)

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes, without reserved capacity."""
        arrays = (self.vectors, self._labels, self._masks, self._digests)
        a_row = sum(array.strides[0] for array in arrays)
        return a_row * self.end + OBJECT_BYTES_PER_ROW * len(self._row_of)

    def used_rows(self) -> NDArray[np.int64]:
        """The rows with a vector, in order."""
        return np.flatnonzero(self._labels[: self.end] != FREE_LABEL)

    def labels(self) -> Labels:
        return np.sort(np.fromiter(self._row_of, np.int64, len(self._row_of)))

    # Changing ------------------------------------------------------------------

    def upsert(self, entries: Iterable[IndexEntry]) -> tuple[list[int], list[int]]:
        """Add or update entries; returns the rows with a new vector and the freed rows.

        Raises ``BadVector`` before any change.
        """
        batch = list(entries)
        check_vectors([entry.vector for entry in batch], self.dimension)
        added: list[int] = []
        freed: list[int] = []
        for entry in batch:
            row = self._row_of.get(entry.label)
            if row is not None and not np.array_equal(self.vectors[row], entry.vector):
                # Not expected: the gallery never reuses labels.
                freed += self.remove([entry.label])
                row = None
            if row is None:
                row = self._assign_row(entry, added)
            self._set_collections(row, entry.label, self._mask(entry.collections))
        filled = [row for row in dict.fromkeys(added) if self._labels[row] != FREE_LABEL]
        return filled, freed

    def remove(self, labels: Iterable[int]) -> list[int]:
        """Remove labels; returns the freed rows."""
        freed: list[int] = []
        for label in labels:
            row = self._row_of.pop(label, None)
            if row is None:
                continue
            if row in self._shared_labels:
                self._remove_shared(row, label)
            else:
                self._clear(row)
                freed.append(row)
        return freed

    def reserve(self) -> None:
        """Grow a full array now, outside of any request: copying a million rows takes a second."""
        if self.end == self.capacity:
            self._grow()

    def new_collections(self, entries: Iterable[IndexEntry]) -> set[int]:
        """The collections of ``entries`` without a slot."""
        named = {name for entry in entries for name in entry.collections}
        return named - self._slots.keys()

    @property
    def free_slots(self) -> int:
        return COLLECTION_SLOTS - len(self._slots)

    def release_other_collections(self, live: Collection[int]) -> None:
        """Free the slots of collections that are not in ``live``."""
        gone = [name for name in self._slots if name not in live]
        keep = ~_bits(self._slots.pop(name) for name in gone)
        self._masks &= np.uint64(keep & _ALL)
        for sharing in self._shared_labels.values():
            for label in sharing:
                sharing[label] &= keep

    # Finding -------------------------------------------------------------------

    def select(self, collections: Collection[int] | None) -> RowMask | None:
        """The rows that a search in ``collections`` considers; None: all up to ``end``."""
        if collections is None:
            return self._labels[: self.end] != FREE_LABEL if self._free_rows else None
        wanted = np.uint64(self.mask_of(collections))
        selected: RowMask = (self._masks[: self.end] & wanted) != 0
        return selected

    def mask_of(self, collections: Collection[int]) -> int:
        """The mask of those ``collections`` that have a slot."""
        return _bits(self._slots[name] for name in collections if name in self._slots)

    def matches_entry(self, entry: IndexEntry) -> bool:
        """Whether the entry's label has its vector and is in its collections."""
        row = self._row_of[entry.label]
        sharing = self._shared_labels.get(row)
        mask = sharing[entry.label] if sharing else int(self._masks[row])
        bound = self.mask_of(entry.collections)
        return (
            np.array_equal(self.vectors[row], entry.vector)
            and entry.collections <= self._slots.keys()
            and mask & bound == bound
        )

    def hits(
        self, rows: Sequence[int], cosines: Sequence[float], k: int,
        collections: Collection[int] | None,
    ) -> list[Hit]:
        """The best ``k`` labels of ``rows``."""
        wanted = None if collections is None else self.mask_of(collections)
        found = [
            Hit(label, float(cosine))
            for row, cosine in zip(rows, cosines, strict=True)
            for label in self._labels_of(row, wanted)
        ]
        return sorted(found, key=lambda hit: (-hit.cosine, hit.label))[:k]

    # Snapshots -------------------------------------------------------------------

    def arrays(self) -> Arrays:
        """The state as plain arrays; large ones are views."""
        shared = [
            (row, label, mask)
            for row, sharing in self._shared_labels.items()
            for label, mask in sharing.items()
        ]
        return {
            "vectors": self.vectors[: self.end],
            "labels": self._labels[: self.end],
            "masks": self._masks[: self.end],
            "digests": self._digests[: self.end],
            "shared": np.array([part[:2] for part in shared], np.int64).reshape(-1, 2),
            "shared_masks": np.array([part[2] for part in shared], np.uint64),
            "slots": np.array(list(self._slots.items()), np.int64).reshape(-1, 2),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> VectorRows:
        """Restores rows from ``arrays``, which it takes over.

        Raises ``SnapshotUnusable`` for inconsistent arrays.
        """
        vectors, labels = arrays["vectors"], arrays["labels"]
        if vectors.ndim != 2 or not (
            len(vectors) == len(labels) == len(arrays["masks"]) == len(arrays["digests"])
        ):
            raise SnapshotUnusable("The stored arrays are of different lengths.")
        rows = cls(vectors.shape[1], 0)
        rows.end = len(labels)
        rows.vectors = vectors.astype(np.float32, copy=False)
        rows._labels = labels.astype(np.int64, copy=False)
        rows._masks = arrays["masks"].astype(np.uint64, copy=False)
        rows._digests = arrays["digests"].astype(np.int64, copy=False)
        rows._slots = {int(name): int(slot) for name, slot in arrays["slots"].tolist()}
        rows._rebuild_lookups(arrays)
        return rows

    def compacted(self) -> VectorRows:
        """A copy without free rows."""
        keep = self.used_rows()
        moved = {int(old): new for new, old in enumerate(keep)}
        arrays = self.arrays()
        shared = arrays["shared"].astype(np.int64)
        for part in shared:
            part[0] = moved[int(part[0])]
        arrays["shared"] = shared
        for name in ("vectors", "labels", "masks", "digests"):
            arrays[name] = arrays[name][keep]
        return VectorRows.from_arrays(arrays)

    # Internals --------------------------------------------------------------------

    def _rebuild_lookups(self, arrays: Arrays) -> None:
        self._free_rows = np.flatnonzero(self._labels == FREE_LABEL).tolist()
        used = self.used_rows()
        numbers = used.tolist()
        self._row_of = dict(zip(self._labels[used].tolist(), numbers, strict=True))
        self._row_of_digest = dict(zip(self._digests[used].tolist(), numbers, strict=True))
        masks = arrays["shared_masks"].tolist()
        for (row, label), mask in zip(arrays["shared"].tolist(), masks, strict=True):
            self._shared_labels.setdefault(row, {})[label] = mask
            self._row_of[label] = row

    def _mask(self, collections: Iterable[int]) -> int:
        return _bits(self._slot(name) for name in collections)

    def _slot(self, collection: int) -> int:
        if collection not in self._slots:
            taken = set(self._slots.values())
            self._slots[collection] = next(
                slot for slot in range(COLLECTION_SLOTS) if slot not in taken
            )
        return self._slots[collection]

    def _assign_row(self, entry: IndexEntry, added: list[int]) -> int:
        """Assign a row to a new entry: the row of an equal vector, or an unused one."""
        digest = _digest(entry.vector)
        row = self._row_of_digest.get(digest)
        if row is not None and np.array_equal(self.vectors[row], entry.vector):
            if row not in self._shared_labels:
                self._shared_labels[row] = {int(self._labels[row]): int(self._masks[row])}
            self._shared_labels[row][entry.label] = 0
        else:
            row = self._empty_row()
            self.vectors[row] = entry.vector
            self._labels[row] = entry.label
            self._digests[row] = digest
            self._row_of_digest[digest] = row
            added.append(row)
        self._row_of[entry.label] = row
        return row

    def _set_collections(self, row: int, label: int, mask: int) -> None:
        """Set the collections of a label."""
        if sharing := self._shared_labels.get(row):
            sharing[label] = mask
            mask = _union(sharing.values())
        self._masks[row] = mask

    def _empty_row(self) -> int:
        if self._free_rows:
            return self._free_rows.pop()
        if self.end == self.capacity:
            self._grow()
        self.end += 1
        return self.end - 1

    def _grow(self) -> None:
        capacity = max(2 * self.capacity, FIRST_CAPACITY)
        vectors = np.zeros((capacity, self.dimension), np.float32)
        vectors[: self.end] = self.vectors[: self.end]
        self.vectors = vectors
        self._labels = grow_array(self._labels, capacity)
        self._masks = grow_array(self._masks, capacity)
        self._digests = grow_array(self._digests, capacity)

    def _remove_shared(self, row: int, label: int) -> None:
        """Take one of several labels from a row."""
        sharing = self._shared_labels[row]
        del sharing[label]
        self._labels[row] = next(iter(sharing))
        self._masks[row] = _union(sharing.values())
        if len(sharing) == 1:
            del self._shared_labels[row]

    def _clear(self, row: int) -> None:
        digest = int(self._digests[row])
        if self._row_of_digest.get(digest) == row:
            del self._row_of_digest[digest]
        # A deleted vector must not appear in later snapshots or in a dump of this memory.
        self.vectors[row] = 0
        self._labels[row] = FREE_LABEL
        self._masks[row] = 0
        self._digests[row] = 0
        self._free_rows.append(row)

    def _labels_of(self, row: int, wanted: int | None) -> list[int]:
        sharing = self._shared_labels.get(row)
        if sharing is None:
            return [int(self._labels[row])]
        return [label for label, mask in sharing.items() if wanted is None or mask & wanted]


_ALL = 2**COLLECTION_SLOTS - 1


def check_vectors(vectors: Sequence[NDArray[np.float32]], dimension: int) -> None:
    """Raises ``BadVector`` unless all are finite, of unit length and of ``dimension``.

    A single row of NaN makes other people unfindable in a graph.
    """
    if not vectors:
        return
    if any(vector.shape != (dimension,) for vector in vectors):
        raise BadVector(f"A vector does not have {dimension} dimensions.")
    block = np.stack(vectors)
    lengths = np.einsum("ij,ij->i", block, block)
    # NaN fails every comparison, so this condition states what must hold.
    if not np.all(np.abs(lengths - 1) < 2 * UNIT_TOLERANCE):
        raise BadVector


def valid_entries(entries: Sequence[IndexEntry], dimension: int) -> list[IndexEntry]:
    """The entries whose vectors ``check_vectors`` accepts."""
    try:
        check_vectors([entry.vector for entry in entries], dimension)
    except BadVector:
        return [entry for entry in entries if _is_valid(entry, dimension)]
    return list(entries)


def _is_valid(entry: IndexEntry, dimension: int) -> bool:
    try:
        check_vectors([entry.vector], dimension)
    except BadVector:
        return False
    return True


def grow_array(array: NDArray[Scalar], length: int, fill: int = 0) -> NDArray[Scalar]:
    """A copy of ``array`` whose last axis is extended to ``length`` with ``fill``."""
    longer = np.full((*array.shape[:-1], length), fill, array.dtype)
    longer[..., : array.shape[-1]] = array
    return longer


def _bits(slots: Iterable[int]) -> int:
    return _union(1 << slot for slot in slots)


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _digest(vector: NDArray[np.float32]) -> int:
    """A 64-bit hash of a vector; the caller compares the vectors themselves, too."""
    digest = hashlib.blake2b(vector.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
