"""The rows of an index: vectors, labels and collections side by side.

Vectors that are equal bit for bit share one row, whatever the number of their labels: a
picture enrolled again and again by a client that retries would otherwise crowd everybody
else out of a graph and out of every short list.
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

FIRST_CAPACITY = 1024  # rows; doubled whenever they are full
OBJECT_BYTES_PER_ROW = 250
"""Bytes that a row takes beside its place in the arrays: its entries in two dictionaries,
which are half empty after they have grown, and the numbers in them."""

COLLECTION_SLOTS = 64
"""Collections that rows can tell apart, one bit of a mask each."""

UNIT_TOLERANCE = 2e-3  # of a vector's length; the gallery allows half of it
FREE_LABEL = 0
"""The label of a row that holds no vector; labels of the gallery begin at 1."""

Scalar = TypeVar("Scalar", bound=np.generic)
Arrays = dict[str, NDArray[Any]]

RowMask = NDArray[np.bool_]
"""Which rows a search looks at, shape (end,)."""


class VectorRows:
    """Growing arrays, one row for each distinct vector.

    A row that is freed is overwritten with zeros and used again; labels never are.
    ``end`` is one past the last row that was ever used.
    """

    def __init__(self, dimension: int, capacity: int = FIRST_CAPACITY) -> None:
        self.dimension = dimension
        self.end = 0
        self.vectors: Vectors = np.zeros((capacity, dimension), np.float32)
        self._labels: Labels = np.zeros(capacity, np.int64)
        self._masks: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        self._digests: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._free: list[int] = []
        self._row_of: dict[int, int] = {}
        self._row_of_digest: dict[int, int] = {}
        # row -> label -> mask, for rows with more than one label
        self._sharing: dict[int, dict[int, int]] = {}
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def capacity(self) -> int:
        return len(self._labels)

    @property
    def used(self) -> int:
        """How many rows hold a vector."""
        return self.end - len(self._free)

    @property
    def free(self) -> int:
        """How many rows below ``end`` hold none."""
        return len(self._free)

    @property
    def nbytes(self) -> int:
        """About how much memory all this takes; what is only reserved takes none yet."""
        arrays = (self.vectors, self._labels, self._masks, self._digests)
        a_row = sum(array.strides[0] for array in arrays)
        return a_row * self.end + OBJECT_BYTES_PER_ROW * len(self._row_of)

    def labels(self) -> Labels:
        return np.sort(np.fromiter(self._row_of, np.int64, len(self._row_of)))

    # Changing ------------------------------------------------------------------

    def upsert(self, entries: Iterable[IndexEntry]) -> tuple[list[int], list[int]]:
        """Take entries in; the rows that got a vector, and those that lost theirs.

        Raises ``BadVector`` before anything is changed.
        """
        batch = list(entries)
        check_vectors([entry.vector for entry in batch], self.dimension)
        fresh: list[int] = []
        freed: list[int] = []
        for entry in batch:
            row = self._row_of.get(entry.label)
            if row is not None and not np.array_equal(self.vectors[row], entry.vector):
                # Cannot be while the gallery keeps its word that labels are never reused.
                freed += self.remove([entry.label])
                row = None
            if row is None:
                row = self._place(entry, fresh)
            self._note(row, entry.label, self._mask(entry.collections))
        filled = [row for row in dict.fromkeys(fresh) if self._labels[row] != FREE_LABEL]
        return filled, freed

    def remove(self, labels: Iterable[int]) -> list[int]:
        """Forget labels; the rows that hold no vector any more."""
        freed: list[int] = []
        for label in labels:
            row = self._row_of.pop(label, None)
            if row is None:
                continue
            if row in self._sharing:
                self._leave(row, label)
            else:
                self._clear(row)
                freed.append(row)
        return freed

    def reserve(self) -> None:
        """Make room for more now, while nobody waits: copying a million rows takes a
        second."""
        if self.end == self.capacity:
            self._grow()

    def new_collections(self, entries: Iterable[IndexEntry]) -> set[int]:
        """Collections that have no slot yet."""
        named = {name for entry in entries for name in entry.collections}
        return named - self._slots.keys()

    @property
    def free_slots(self) -> int:
        return COLLECTION_SLOTS - len(self._slots)

    def release_other_collections(self, live: Collection[int]) -> None:
        """Give the slots of all other collections back."""
        gone = [name for name in self._slots if name not in live]
        keep = ~_bits(self._slots.pop(name) for name in gone)
        self._masks &= np.uint64(keep & _ALL)
        for sharing in self._sharing.values():
            for label in sharing:
                sharing[label] &= keep

    # Finding -------------------------------------------------------------------

    def select(self, collections: Collection[int] | None) -> RowMask | None:
        """The rows that a search in ``collections`` looks at; None for all up to ``end``."""
        if collections is None:
            return self._labels[: self.end] != FREE_LABEL if self._free else None
        wanted = np.uint64(self.mask_of(collections))
        selected: RowMask = (self._masks[: self.end] & wanted) != 0
        return selected

    def mask_of(self, collections: Collection[int]) -> int:
        """The mask of those ``collections`` in which there is a label."""
        return _bits(self._slots[name] for name in collections if name in self._slots)

    def matches_entry(self, entry: IndexEntry) -> bool:
        """Whether a label that is here has this vector and is in these collections."""
        row = self._row_of[entry.label]
        sharing = self._sharing.get(row)
        mask = sharing[entry.label] if sharing else int(self._masks[row])
        bound = self.mask_of(entry.collections)
        return (
            np.array_equal(self.vectors[row], entry.vector)
            and entry.collections <= self._slots.keys()
            and mask & bound == bound
        )

    def hits(
        self,
        rows: Sequence[int],
        cosines: Sequence[float],
        k: int,
        collections: Collection[int] | None,
    ) -> list[Hit]:
        """The best ``k`` labels of some rows."""
        wanted = None if collections is None else self.mask_of(collections)
        found = [
            Hit(label, float(cosine))
            for row, cosine in zip(rows, cosines, strict=True)
            for label in self._labels_of(row, wanted)
        ]
        return sorted(found, key=lambda hit: (-hit.cosine, hit.label))[:k]

    # Keeping -------------------------------------------------------------------

    def arrays(self) -> Arrays:
        """All of it, as arrays without objects; views, where they are large."""
        shared = [
            (row, label, mask)
            for row, sharing in self._sharing.items()
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
        """The rows that ``arrays`` were taken from; it keeps those as its own.

        Raises ``SnapshotUnusable`` when they do not belong together.
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
        rows._find_again(arrays)
        return rows

    def compacted(self) -> VectorRows:
        """The same without free rows, in arrays of their own."""
        keep = np.flatnonzero(self._labels[: self.end] != FREE_LABEL)
        moved = {int(old): new for new, old in enumerate(keep)}
        arrays = self.arrays()
        shared = arrays["shared"].astype(np.int64)
        for part in shared:
            part[0] = moved[int(part[0])]
        arrays["shared"] = shared
        for name in ("vectors", "labels", "masks", "digests"):
            arrays[name] = arrays[name][keep]
        return VectorRows.from_arrays(arrays)

    # Inside --------------------------------------------------------------------

    def _find_again(self, arrays: Arrays) -> None:
        self._free = np.flatnonzero(self._labels == FREE_LABEL).tolist()
        used = np.flatnonzero(self._labels != FREE_LABEL)
        numbers = used.tolist()
        self._row_of = dict(zip(self._labels[used].tolist(), numbers, strict=True))
        self._row_of_digest = dict(zip(self._digests[used].tolist(), numbers, strict=True))
        masks = arrays["shared_masks"].tolist()
        for (row, label), mask in zip(arrays["shared"].tolist(), masks, strict=True):
            self._sharing.setdefault(row, {})[label] = mask
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

    def _place(self, entry: IndexEntry, fresh: list[int]) -> int:
        """The row of an entry that has none: that of an equal vector, or one of its own."""
        digest = _digest(entry.vector)
        row = self._row_of_digest.get(digest)
        if row is not None and np.array_equal(self.vectors[row], entry.vector):
            if row not in self._sharing:
                self._sharing[row] = {int(self._labels[row]): int(self._masks[row])}
            self._sharing[row][entry.label] = 0
        else:
            row = self._empty_row()
            self.vectors[row] = entry.vector
            self._labels[row] = entry.label
            self._digests[row] = digest
            self._row_of_digest[digest] = row
            fresh.append(row)
        self._row_of[entry.label] = row
        return row

    def _note(self, row: int, label: int, mask: int) -> None:
        """Set the collections of a label."""
        if sharing := self._sharing.get(row):
            sharing[label] = mask
            mask = _union(sharing.values())
        self._masks[row] = mask

    def _empty_row(self) -> int:
        if self._free:
            return self._free.pop()
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

    def _leave(self, row: int, label: int) -> None:
        """Take one of several labels from a row."""
        sharing = self._sharing[row]
        del sharing[label]
        self._labels[row] = next(iter(sharing))
        self._masks[row] = _union(sharing.values())
        if len(sharing) == 1:
            del self._sharing[row]

    def _clear(self, row: int) -> None:
        digest = int(self._digests[row])
        if self._row_of_digest.get(digest) == row:
            del self._row_of_digest[digest]
        # What is deleted must be in no later snapshot, nor in a dump of this memory.
        self.vectors[row] = 0
        self._labels[row] = FREE_LABEL
        self._masks[row] = 0
        self._digests[row] = 0
        self._free.append(row)

    def _labels_of(self, row: int, wanted: int | None) -> list[int]:
        sharing = self._sharing.get(row)
        if sharing is None:
            return [int(self._labels[row])]
        return [label for label, mask in sharing.items() if wanted is None or mask & wanted]


_ALL = 2**COLLECTION_SLOTS - 1


def check_vectors(vectors: Sequence[NDArray[np.float32]], dimension: int) -> None:
    """Raises ``BadVector`` unless all are finite, of unit length and of ``dimension``.

    One row of NaN is enough to make other people unfindable in a graph.
    """
    if not vectors:
        return
    if any(vector.shape != (dimension,) for vector in vectors):
        raise BadVector(f"A vector does not have {dimension} dimensions.")
    block = np.stack(vectors)
    lengths = np.einsum("ij,ij->i", block, block)
    # NaN fails every comparison, so that this asks for what must be.
    if not np.all(np.abs(lengths - 1) < 2 * UNIT_TOLERANCE):
        raise BadVector


def grow_array(array: NDArray[Scalar], length: int) -> NDArray[Scalar]:
    """``array`` with zeros behind it."""
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer


def _bits(slots: Iterable[int]) -> int:
    return _union(1 << slot for slot in slots)


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _digest(vector: NDArray[np.float32]) -> int:
    """64 bits that equal vectors share; equality itself is checked on the vectors."""
    digest = hashlib.blake2b(vector.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
