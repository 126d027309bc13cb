"""The engines by themselves: choosing, coding, and the limits of hnswlib."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, SnapshotUnusable
from pipeline.index import hnsw
from pipeline.index.codes import BITS, Coder, CodesIndex, nearest_codes
from pipeline.index.engine_choice import Engine, EngineChoice
from pipeline.index.flat import BLOCK_PROBES, BLOCK_ROWS, FlatIndex
from pipeline.index.hnsw import HnswIndex, HnswParameters
from pipeline.index.lock import ReadersWriterLock
from pipeline.index.options import LONGEST_WAIT_S, READING_SHARE, ViewOptions
from pipeline.index.vector_rows import FIRST_CAPACITY, VectorRows
from pipeline.types import IndexEntry
from tests.conftest import missing
from tests.index_source import mates, unit_vectors

DIMENSION = 64


def filled(index: FlatIndex, count: int = 300, seed: int = 1) -> FlatIndex:
    vectors = unit_vectors(count, index.dimension, seed)
    index.upsert(IndexEntry(label, vector) for label, vector in enumerate(vectors, 1))
    return index


@pytest.fixture
def graph() -> HnswIndex:
    """A graph of 300 vectors."""
    try:
        index = HnswIndex(VectorRows(DIMENSION))
    except ConfigurationError as error:
        missing(error.message)
    filled(index)
    return index


@pytest.mark.parametrize(
    ("count", "present", "wanted"),
    [(0, "", "flat"), (100, "", "flat"), (101, "", "codes"), (101, "flat", "codes"),
     (100, "codes", "codes"), (51, "codes", "codes"), (50, "codes", "flat"),
     (100, "hnsw", "flat")],
)
def test_the_engine_goes_by_size(count: int, present: str, wanted: str) -> None:
    assert EngineChoice(exact_limit=100).engine_for(count, present) == wanted


@pytest.mark.parametrize("engine", ["flat", "codes", "hnsw"])
def test_a_named_engine_is_taken_at_any_size(engine: Engine) -> None:
    assert {EngineChoice(engine).engine_for(count) for count in (0, 10**6)} == {engine}


def test_the_settings_arrive() -> None:
    settings = Settings(
        index_engine="hnsw", index_exact_limit=5, index_short_list=6, index_threads=2,
        index_garbage_share=0.5, index_snapshot_changes=7, index_canary_every=8,
        purge_after_s=9, hnsw_links=10, hnsw_build_width=11, hnsw_search_width=12,
        job_time_limit_s=4,
    )
    assert ViewOptions.from_settings(settings) == ViewOptions(
        engine_choice=EngineChoice("hnsw", 5, 6, HnswParameters(10, 11, 12, 2)), garbage_share=0.5,
        snapshot_changes=7, purge_after_s=9.0, canary_every=8, reading_share=READING_SHARE,
        open_wait_s=2.0,
    )
    assert ViewOptions.from_settings(Settings()) == ViewOptions(
        reading_share=READING_SHARE, open_wait_s=LONGEST_WAIT_S
    )


def test_blocks_leave_no_seam() -> None:
    count = 2 * BLOCK_ROWS + 5
    vectors = unit_vectors(count, 8)
    index = FlatIndex(VectorRows(8))
    index.upsert(IndexEntry(label, vector) for label, vector in enumerate(vectors, 1))
    edges = np.array([0, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS, count - 1])
    probes = vectors[np.resize(edges, BLOCK_PROBES + 3)]

    found = index.search(probes, 3)

    truth = np.argsort(-(probes @ vectors.T), axis=1)[:, :3] + 1
    assert [[hit.label for hit in hits] for hits in found] == truth.tolist()


def test_rows_double_and_keep_what_they_hold() -> None:
    index = FlatIndex(VectorRows(8))
    vectors = unit_vectors(3 * FIRST_CAPACITY, 8)
    for label, vector in enumerate(vectors, 1):
        index.upsert([IndexEntry(label, vector)])

    assert index.rows.capacity == 4 * FIRST_CAPACITY
    np.testing.assert_array_equal(index.rows.vectors[: len(vectors)], vectors)


@pytest.mark.parametrize("dimension", [8, 128, 512, 700])
def test_codes_tell_the_angle(dimension: int) -> None:
    vectors = unit_vectors(200, dimension)
    coder = Coder.fitted(vectors)
    codes = coder.encode(vectors)
    for cosine in (0.9, 0.5, 0.0):
        other = coder.encode(mates(vectors, cosine))
        share = np.bitwise_count(codes ^ other).sum() / (BITS * len(vectors))
        assert share == pytest.approx(np.arccos(cosine) / np.pi, abs=0.03)


def test_the_shortest_are_chosen_with_their_ties() -> None:
    distances = np.array([5, 3, 3, 9, 3, 1, 512], np.uint16)
    assert nearest_codes(distances.copy(), 1, None).tolist() == [5]
    assert nearest_codes(distances.copy(), 2, None).tolist() == [1, 2, 4, 5]
    assert nearest_codes(distances.copy(), 7, None).tolist() == list(range(7))
    some = np.array([True, False, True, True, True, False, True])
    assert nearest_codes(distances.copy(), 2, some).tolist() == [2, 4]


def test_codes_learn_where_the_vectors_lie() -> None:
    """A gallery that begins with one face: the mean is recomputed as it grows."""
    vectors = unit_vectors(4000, DIMENSION, lean=3.0)
    index = CodesIndex(VectorRows(DIMENSION), short_list=40)
    for start in (0, 1, 3, 10, 100, 2000):
        stop = {0: 1, 1: 3, 3: 10, 10: 100, 100: 2000, 2000: 4000}[start]
        index.upsert(IndexEntry(n + 1, vectors[n]) for n in range(start, stop))

    noise = 0.03 * np.random.default_rng(3).standard_normal(vectors.shape).astype(np.float32)
    probes = vectors + noise
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    found = index.search(probes[::20], 1)
    truth = index.search_exactly(probes[::20], 1)

    same = [mine[0].label == exact[0].label for mine, exact in zip(found, truth, strict=True)]
    assert np.mean(same) > 0.98


def test_hnsw_without_its_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(ConfigurationError, match=r"faceline\[hnsw\]"):
        EngineChoice("hnsw").build(VectorRows(DIMENSION))


def test_a_graph_that_cannot_answer_is_searched_exactly(
    graph: HnswIndex, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck:
        def knn_query(self, probes: object, k: int) -> None:
            raise RuntimeError("Cannot return the results in a contiguous 2D array")

    graph._graph = Stuck()
    probes = unit_vectors(5)
    assert graph.search(probes, 3) == graph.search_exactly(probes, 3)
    assert "ran exactly" in caplog.text


def test_a_graph_forgets_its_dead_when_it_must(graph: HnswIndex) -> None:
    vectors = unit_vectors(600, seed=2)
    graph.remove(range(1, 101))
    remembered = graph.retains_deleted
    assert remembered
    assert graph.garbage_share == pytest.approx(1 / 3)
    graph.remove(range(101, 201))

    graph.upsert(IndexEntry(1000 + n, vector) for n, vector in enumerate(vectors))

    assert not graph.retains_deleted
    assert graph._graph.get_current_count() == 700
    assert [hits[0].label for hits in graph.search(vectors, 1)] == list(range(1000, 1600))


def test_a_full_disk_is_noticed_when_a_graph_is_saved(
    graph: HnswIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """hnswlib ends normally then; a shorter file stands for the full disk."""

    class Short:
        def index_file_size(self) -> int:
            return 1000

        def save_index(self, path: str) -> None:
            Path(path).write_bytes(b"x" * 999)

    graph._graph = Short()
    with pytest.raises(SnapshotUnusable, match="999 of 1000"):
        graph.arrays()


def test_a_graph_keeps_its_search_width(graph: HnswIndex) -> None:
    """hnswlib forgets it in its file."""
    arrays = {name: array.copy() for name, array in graph.arrays().items()}
    again = HnswIndex.from_arrays(arrays, HnswParameters(search_width=77, threads=2))
    assert again._graph.ef == 77
    assert again._graph.num_threads == 2


def test_a_graph_is_tried_before_it_is_read(
    graph: HnswIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {name: array.copy() for name, array in graph.arrays().items()}
    monkeypatch.setattr(hnsw, "LOAD_CHECK", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(SnapshotUnusable):
        HnswIndex.from_arrays(arrays)


def test_readers_go_together_and_a_writer_alone() -> None:
    lock = ReadersWriterLock()
    inside = threading.Barrier(2, timeout=60)
    order: list[str] = []

    def read() -> None:
        with lock.reading():
            inside.wait()

    def write(name: str) -> None:
        with lock.writing():
            order.extend([name, name])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=60)
    assert not any(reader.is_alive() for reader in readers)
    with lock.reading():
        writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for writer in writers:
            writer.start()
        assert len(order) == 0
    for writer in writers:
        writer.join(timeout=60)
    assert order in (list("aabb"), list("bbaa"))
