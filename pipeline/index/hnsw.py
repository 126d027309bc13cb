"""Graph search with hnswlib (Malkov and Yashunin, "Hierarchical navigable small world
graphs", 2018), with checks around the library.

hnswlib 0.8 checks little: a damaged file crashes the process, saving to a full disk reports
nothing, a label added twice becomes two nodes, deletion only marks nodes, NaN makes other
vectors unfindable, and a query for more than the graph reaches fails as a whole. Therefore
nodes have their own numbers, which are never reused; vectors are checked before insertion;
a written file is measured, and a read file is first loaded in a separate process; whatever
the graph cannot answer is searched exactly. Searches in collections are exact too, because
hnswlib calls a Python filter for each candidate.
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
from pipeline.index.flat import FlatIndex, ScoredRowsPerProbe, nearest_rows
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows, grow_array

LOG = logging.getLogger(__name__)

NO_NODE = -1
SEED = 20  # of the levels; with one thread the same rows give the same graph
MAX_DELETED_SHARE = 0.5
"""Share of deleted nodes above which the graph is rebuilt instead of extended: hnswlib links
a new node to live nodes only, and a node that meets none stays unreachable."""

ADD_BLOCK = 16_384  # rows that are added in one call
LOAD_CHECK_TIMEOUT_S = 300.0  # for reading a graph in a process that may die; 2 GB take seconds

LOAD_CHECK = """
import sys, hnswlib
graph = hnswlib.Index("ip", int(sys.argv[2]))
graph.load_index(sys.argv[1])
sys.exit(graph.get_current_count() != int(sys.argv[3]))
"""


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """The parameters of hnswlib. ``links`` (M) and ``build_width`` (ef_construction) bound
    the recall of a graph; ``search_width`` (ef) trades recall for time. Among 100,000
    face-like vectors ef 400 finds 98.6 % of mates at cosine 0.45, ef 800 finds 99.8 %."""

    links: int = 32
    build_width: int = 400
    search_width: int = 800
    threads: int = 1


class HnswIndex(FlatIndex):
    """An index that searches a graph and ranks its results by exact cosines.

    Raises ``ConfigurationError`` when hnswlib is not installed.
    """

    engine: ClassVar[str] = "hnsw"

    def __init__(self, rows: VectorRows, parameters: HnswParameters | None = None) -> None:
        super().__init__(rows)
        self._parameters = parameters or HnswParameters()
        self._build()

    @classmethod
    def from_arrays(cls, arrays: Arrays, parameters: HnswParameters | None = None) -> HnswIndex:
        """Restores an index. Raises ``SnapshotUnusable`` for inconsistent arrays."""
        index = cls.__new__(cls)
        FlatIndex.__init__(index, VectorRows.from_arrays(arrays))
        index._parameters = parameters or HnswParameters()
        rows_of_nodes = arrays["rows_of_nodes"]
        if len(rows_of_nodes) and rows_of_nodes.max() >= index.rows.end:
            raise SnapshotUnusable("The stored graph is not that of the vectors.")
        index._graph = _load_graph(arrays["graph"], index.rows.dimension, len(rows_of_nodes))
        index._attach(rows_of_nodes)
        return index

    @property
    def nbytes(self) -> int:
        nodes = self._row_of_node.nbytes + self._node_of_row.nbytes
        return super().nbytes + nodes + int(self._graph.index_file_size())

    @property
    def garbage_share(self) -> float:
        return max(super().garbage_share, self._deleted / max(self._nodes, 1))

    @property
    def retains_deleted(self) -> bool:
        return self._deleted > 0

    def arrays(self) -> Arrays:
        return super().arrays() | {
            "graph": _save_graph(self._graph),
            "rows_of_nodes": self._row_of_node[: self._nodes],
        }

    def _build(self) -> None:
        """Build a graph of all used rows."""
        self._graph = open_graph(self.rows.dimension)
        self._graph.init_index(
            max_elements=max(self.rows.capacity, 1),
            M=self._parameters.links,
            ef_construction=self._parameters.build_width,
            random_seed=SEED,
        )
        self._attach(np.empty(0, np.int64))
        used = self.rows.used_rows()
        for start in range(0, len(used), ADD_BLOCK):
            self._add(used[start : start + ADD_BLOCK])

    def _attach(self, rows_of_nodes: NDArray[np.int64]) -> None:
        """Set the options that hnswlib does not save, and the maps between rows and nodes. The
        node of a deleted vector has the row ``NO_NODE``."""
        self._graph.set_ef(self._parameters.search_width)
        self._graph.set_num_threads(self._parameters.threads)
        self._nodes = len(rows_of_nodes)
        self._row_of_node = rows_of_nodes
        live = np.flatnonzero(rows_of_nodes != NO_NODE)
        self._deleted = self._nodes - len(live)
        self._node_of_row = np.full(self.rows.capacity, NO_NODE, np.int64)
        self._node_of_row[rows_of_nodes[live]] = live

    def _rows_added(self, rows: list[int]) -> None:
        if self._deleted > MAX_DELETED_SHARE * self._nodes:
            self._build()
            return
        if len(self._node_of_row) < self.rows.capacity:
            self._node_of_row = grow_array(self._node_of_row, self.rows.capacity, NO_NODE)
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
            self._deleted += 1

    def _nearest(self, probes: Vectors, k: int, selected: RowMask | None) -> ScoredRowsPerProbe:
        live = self._nodes - self._deleted
        if not live or len(probes) == 0:
            return nearest_rows(self.rows, probes, k, selected)
        if selected is not None and np.count_nonzero(selected) < live:
            return nearest_rows(self.rows, probes, k, selected)
        try:
            nodes, _ = self._graph.knn_query(probes, k=min(k, live))
        except RuntimeError:
            # "Cannot return the results in a contiguous 2D array": the graph reaches fewer
            # nodes than exist, as happens after many deletions.
            LOG.warning(
                "The graph could not answer a search, which ran exactly instead.",
                extra={"action": "index_exact", "nodes": self._nodes, "deleted": self._deleted},
            )
            return nearest_rows(self.rows, probes, k, selected)
        return [
            self._best_of(probe, self._row_of_node[found.astype(np.int64)], k)
            for probe, found in zip(probes, nodes, strict=True)
        ]


def open_graph(dimension: int) -> Any:
    """An empty hnswlib index over inner products.

    Raises ``ConfigurationError`` when hnswlib is not installed.
    """
    try:
        hnswlib = importlib.import_module("hnswlib")
    except ImportError as error:
        raise ConfigurationError(
            "FACELINE_INDEX_ENGINE=hnsw needs the package hnswlib. Install it with "
            "pip install 'faceline[hnsw]' (needs a C++ compiler), or choose another engine."
        ) from error
    return hnswlib.Index(space="ip", dim=dimension)


def _save_graph(graph: Any) -> NDArray[np.uint8]:
    """The graph as a file's bytes. Raises ``SnapshotUnusable`` when writing fails."""
    expected = graph.index_file_size()
    with tempfile.TemporaryDirectory(prefix="faceline-index-") as folder:
        path = Path(folder) / "graph"
        try:
            graph.save_index(str(path))
            with path.open("rb") as file:
                os.fsync(file.fileno())
            # hnswlib reports no error on a full disk.
            data = np.fromfile(path, np.uint8)
        except (OSError, RuntimeError) as error:
            raise SnapshotUnusable(f"The graph could not be written: {error}") from error
    if len(data) != expected:
        raise SnapshotUnusable(f"{len(data)} of {expected} bytes of the graph were written.")
    return data


def _load_graph(data: NDArray[np.uint8], dimension: int, nodes: int) -> Any:
    """Loads a graph from bytes with a valid checksum.

    Raises ``SnapshotUnusable`` when hnswlib crashes on it or reads another graph.
    """
    graph = open_graph(dimension)
    with tempfile.TemporaryDirectory(prefix="faceline-index-") as folder:
        path = Path(folder) / "graph"
        try:
            data.tofile(path)
            check = subprocess.run(  # noqa: S603 - this interpreter, and numbers
                [sys.executable, "-c", LOAD_CHECK, str(path), str(dimension), str(nodes)],
                capture_output=True, timeout=LOAD_CHECK_TIMEOUT_S, check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SnapshotUnusable(f"The stored graph could not be checked: {error}") from error
        if check.returncode != 0:
            raise SnapshotUnusable("The stored graph is damaged or another graph.")
        try:
            graph.load_index(str(path), max_elements=max(nodes, 1))
        except RuntimeError as error:
            raise SnapshotUnusable(f"The stored graph cannot be read: {error}") from error
    return graph
