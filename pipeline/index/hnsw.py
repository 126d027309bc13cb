"""Graph search with hnswlib (Malkov and Yashunin, "Hierarchical navigable small world
graphs", 2018), kept on a short leash.

hnswlib 0.8 checks little: a damaged file ends the process, a full disk is not reported
when saving, a label added twice becomes two nodes, deleting only marks, NaN makes others
unfindable, and asking for more than it can find fails the whole batch. So: nodes have
numbers of their own that are never given twice; vectors are checked before they come
here; files are measured when written, and after their checksum tried in a process that
may die; whatever the graph cannot answer is searched exactly, and so is every search in
collections, since a filter would be called from Python for each candidate.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigurationError, SnapshotUnusable
from pipeline.index.base import Vectors
from pipeline.index.flat import FlatIndex, ScoredRowsPerProbe, nearest_rows, top_k
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows, grow_array

LOG = logging.getLogger(__name__)

NO_NODE = -1
SEED = 20  # of the levels; with one thread the same rows give the same graph
MAX_DELETED_SHARE = 0.5
"""Share of deleted nodes above which a graph takes no more in and is built anew: hnswlib
links a new node to living ones only, and one that meets none stays unreachable."""

ADD_BLOCK = 16_384  # rows copied out of the matrix at a time
LOAD_CHECK_TIMEOUT_S = 300.0  # for reading a graph in a process that may die; 2 GB take seconds

LOAD_CHECK = """
import sys, hnswlib
graph = hnswlib.Index("ip", int(sys.argv[2]))
graph.load_index(sys.argv[1])
sys.exit(graph.get_current_count() != int(sys.argv[3]))
"""


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """hnswlib's own parameters. ``links`` (M) and ``build_width`` (ef_construction) fix
    what a graph can find at all, ``search_width`` (ef) trades recall for time: among
    100,000 face-like people it found 98.6 % of mates at cosine 0.45 with 400, 99.8 % with
    800."""

    links: int = 32
    build_width: int = 400
    search_width: int = 800
    threads: int = 1


class HnswIndex(FlatIndex):
    """An ``Index`` that walks a graph, and names the exact cosines of what it found.

    Raises ``ConfigurationError`` when hnswlib is not installed.
    """

    engine: ClassVar[str] = "hnsw"

    def __init__(self, rows: VectorRows, shape: HnswParameters | None = None) -> None:
        super().__init__(rows)
        self._shape = shape or HnswParameters()
        self._build()

    @classmethod
    def from_arrays(cls, arrays: Arrays, shape: HnswParameters | None = None) -> HnswIndex:
        """The index that ``arrays`` were taken from.

        Raises ``SnapshotUnusable`` when they do not belong together.
        """
        index = cls.__new__(cls)
        FlatIndex.__init__(index, VectorRows.from_arrays(arrays))
        index._shape = shape or HnswParameters()
        rows_of_nodes = arrays["rows_of_nodes"]
        if len(rows_of_nodes) and rows_of_nodes.max() >= index.rows.end:
            raise SnapshotUnusable("The stored graph is not that of the vectors.")
        index._graph = _read(arrays["graph"], index.rows.dimension, len(rows_of_nodes))
        index._start(rows_of_nodes)
        return index

    @property
    def nbytes(self) -> int:
        nodes = self._row_of_node.nbytes + self._node_of_row.nbytes
        return super().nbytes + nodes + int(self._graph.index_file_size())

    @property
    def garbage_share(self) -> float:
        return max(super().garbage_share, self._dead / max(self._nodes, 1))

    @property
    def retains_deleted(self) -> bool:
        return self._dead > 0

    def arrays(self) -> Arrays:
        return super().arrays() | {
            "graph": _written(self._graph),
            "rows_of_nodes": self._row_of_node[: self._nodes],
        }

    def _build(self) -> None:
        """A graph of all rows, and no others."""
        self._graph = open_graph(self.rows.dimension)
        self._graph.init_index(
            max_elements=max(self.rows.capacity, 1),
            M=self._shape.links,
            ef_construction=self._shape.build_width,
            random_seed=SEED,
        )
        self._start(np.empty(0, np.int64))
        selected = self.rows.select(None)
        used = np.arange(self.rows.end) if selected is None else np.flatnonzero(selected)
        for start in range(0, len(used), ADD_BLOCK):
            self._add(used[start : start + ADD_BLOCK])

    def _start(self, rows_of_nodes: NDArray[np.int64]) -> None:
        """Set what hnswlib forgets between saving and loading, and which row has which
        node; a node of a deleted vector has the row ``NO_NODE``."""
        self._graph.set_ef(self._shape.search_width)
        self._graph.set_num_threads(self._shape.threads)
        self._nodes = len(rows_of_nodes)
        self._row_of_node = rows_of_nodes
        living = np.flatnonzero(rows_of_nodes != NO_NODE)
        self._dead = self._nodes - len(living)
        self._node_of_row = np.full(self.rows.capacity, NO_NODE, np.int64)
        self._node_of_row[rows_of_nodes[living]] = living

    def _rows_added(self, rows: list[int]) -> None:
        if self._dead > MAX_DELETED_SHARE * self._nodes:
            self._build()
            return
        if len(self._node_of_row) < self.rows.capacity:
            grown = np.full(self.rows.capacity, NO_NODE, np.int64)
            grown[: len(self._node_of_row)] = self._node_of_row
            self._node_of_row = grown
        self._add(np.array(rows, np.int64))

    def _add(self, rows: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        end = self._nodes + len(rows)
        if end > self._graph.get_max_elements():
            self._graph.resize_index(max(2 * self._graph.get_max_elements(), end))
        if end > len(self._row_of_node):
            self._row_of_node = grow_array(self._row_of_node, max(2 * self._nodes, end))
        nodes = np.arange(self._nodes, end)
        self._graph.add_items(self.rows.vectors[rows], nodes)
        self._row_of_node[nodes] = rows
        self._node_of_row[rows] = nodes
        self._nodes = end

    def _rows_removed(self, rows: list[int]) -> None:
        for row in rows:
            node = int(self._node_of_row[row])
            if node == NO_NODE:
                continue
            self._graph.mark_deleted(node)
            self._node_of_row[row] = NO_NODE
            self._row_of_node[node] = NO_NODE
            self._dead += 1

    def _nearest(self, probes: Vectors, k: int, selected: RowMask | None) -> ScoredRowsPerProbe:
        living = self._nodes - self._dead
        if not living or len(probes) == 0:
            return nearest_rows(self.rows, probes, k, selected)
        if selected is not None and np.count_nonzero(selected) < living:
            return nearest_rows(self.rows, probes, k, selected)
        try:
            nodes, _ = self._graph.knn_query(probes, k=min(k, living))
        except RuntimeError:
            # "Cannot return the results in a contiguous 2D array": fewer were reached
            # than are there, as after many deletes.
            LOG.warning(
                "The graph could not answer; searched exactly.",
                extra={"action": "index_exact", "nodes": self._nodes, "deleted": self._dead},
            )
            return nearest_rows(self.rows, probes, k, selected)
        return [
            self._compared(probe, self._row_of_node[found.astype(np.int64)], k)
            for probe, found in zip(probes, nodes, strict=True)
        ]

    def _compared(
        self, probe: NDArray[np.float32], rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cosines = self.rows.vectors[rows] @ probe
        best = top_k(cosines, k)
        return rows[best], cosines[best]


def open_graph(dimension: int) -> Any:
    """An empty hnswlib index over inner products.

    Raises ``ConfigurationError`` when hnswlib is not installed.
    """
    try:
        hnswlib = importlib.import_module("hnswlib")
    except ImportError as error:
        raise ConfigurationError(
            "FACELINE_INDEX_ENGINE=hnsw needs the package hnswlib, which comes as source: "
            "pip install 'faceline[hnsw]' (with a C++ compiler), or choose another engine"
        ) from error
    return hnswlib.Index(space="ip", dim=dimension)


def _written(graph: Any) -> NDArray[np.uint8]:
    """The graph's file. Raises ``SnapshotUnusable`` when the disk did not take it."""
    expected = graph.index_file_size()
    with tempfile.TemporaryDirectory(prefix="faceline-index-") as folder:
        path = Path(folder) / "graph"
        try:
            graph.save_index(str(path))
            with path.open("rb") as file:
                os.fsync(file.fileno())
            # It ends normally on a full disk too.
            data = np.fromfile(path, np.uint8)
        except (OSError, RuntimeError) as error:
            raise SnapshotUnusable(f"The graph could not be written: {error}") from error
    if len(data) != expected:
        raise SnapshotUnusable(f"{len(data)} of {expected} bytes of the graph were written.")
    return data


def _read(data: NDArray[np.uint8], dimension: int, nodes: int) -> Any:
    """The graph of a file whose checksum was right.

    Raises ``SnapshotUnusable`` when hnswlib does not survive it, or finds another graph.
    """
    graph = open_graph(dimension)
    with tempfile.TemporaryDirectory(prefix="faceline-index-") as folder:
        path = Path(folder) / "graph"
        try:
            data.tofile(path)
            tried = subprocess.run(  # noqa: S603 - this interpreter, and numbers
                [sys.executable, "-c", LOAD_CHECK, str(path), str(dimension), str(nodes)],
                capture_output=True, timeout=LOAD_CHECK_TIMEOUT_S, check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SnapshotUnusable(f"The stored graph could not be tried: {error}") from error
        if tried.returncode != 0:
            raise SnapshotUnusable("The stored graph is not one, or another one.")
        try:
            graph.load_index(str(path), max_elements=max(nodes, 1))
        except RuntimeError as error:
            raise SnapshotUnusable(f"The stored graph cannot be read: {error}") from error
    return graph
