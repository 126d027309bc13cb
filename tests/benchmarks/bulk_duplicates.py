"""The findings and the cost of the search of a batch for duplicate people.

    python -m tests.benchmarks.bulk_duplicates --aligned ../shared/faces/lfw_aligned --real
    python -m tests.benchmarks.bulk_duplicates --aligned ../shared/faces/lfw_aligned \\
        --made 10000,100000

``--real``: the shared faces under their own names, with as many wrong ones planted as
``--planted`` says. ``--made``: galleries of face-like vectors (``face_like.py``), one face a
person, among which a hundred people have a second face under another name, at cosines
from just above the threshold on; in a process of its own each. ``--rest`` has as many
others enrolled before, without mates. ``--codes`` times the distances of sign codes beside
it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert

from pipeline.batches.duplicate_search import FindingKind, SearchProgress
from pipeline.batches.findings import Finding, list_findings
from pipeline.calibration.table import Calibration, load_table
from pipeline.config.settings import load_settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.duplicates.thresholds import count_pairs, thresholds_for
from pipeline.index.codes import Coder, hamming_distances
from pipeline.sessions import registry
from tests.benchmarks.face_like import FaceLike, Photos, Vectors, embed_aligned
from tests.duplicates_gallery import Gallery, Planted, plant

SEED = 6
PLANTED = 100
MB = 1_000_000


def new_gallery(folder: Path, table: Calibration) -> Gallery:
    engine = open_engine(f"sqlite:///{folder / 'faceline.db'}", durable=False)
    migrate.upgrade(engine)
    with writing(engine) as connection:
        connection.execute(
            insert(tenants).values(id=1, name="one", settings={}, created_at=0.0)
        )
    return Gallery(engine, 1, table)


def findings_of(engine: Engine, batch_id: str, kind: FindingKind) -> list[Finding]:
    return [each for each in list_findings(engine, batch_id, limit=100_000) if each.kind is kind]


# Real faces ----------------------------------------------------------------------------


def real(photos: Photos, table: Calibration, count: int) -> Iterator[str]:
    """Lines with the findings among real faces with ``count`` errors of each kind."""
    planted = plant(photos.people.tolist(), count, SEED)
    with tempfile.TemporaryDirectory() as folder:
        gallery = new_gallery(Path(folder), table)
        batch = gallery.batch()
        gallery.fill(zip(planted.names, photos.vectors, strict=True), batch)
        began = time.process_time()
        search, _ = gallery.search(batch)
        took = time.process_time() - began
        yield (
            f"{search.faces} faces, {took:.1f} s; cosine {search.same:.3f} "
            f"(FMR {search.same_fmr:.1e}) and {search.apart:.3f}"
        )
        yield from compared(gallery.engine, batch.id, photos, planted)


def compared(
    engine: Engine, batch_id: str, photos: Photos, planted: Planted
) -> Iterator[str]:
    pairs = {
        frozenset({each.face.name, each.other.name})
        for each in findings_of(engine, batch_id, FindingKind.TWO_NAMES) if each.other is not None
    }
    strange = {
        frozenset({str(photos.people[place]), planted.names[place]}) for place in planted.strays
    }
    yield (
        f"under two names: {len(planted.duplicates & pairs)} of {len(planted.duplicates)}; strays "
        f"named beside their own: {len(strange & pairs)} of {len(strange)}; others: "
        f"{sorted(map(sorted, pairs - planted.duplicates - strange))}"
    )
    odd = {
        (each.face.item or 0) - 1 for each in findings_of(engine, batch_id, FindingKind.ODD_FACE)
    }
    yield (
        f"strays that are odd: {len(planted.strays & odd)} of {len(planted.strays)}; others: "
        f"{sorted(planted.names[place] for place in odd - planted.strays)}"
    )
    two = {each.face.name for each in findings_of(engine, batch_id, FindingKind.TWO_PEOPLE)}
    yield (
        f"two people: {len(planted.merged & two)} of {len(planted.merged)}; others: "
        f"{sorted(two - planted.merged)}"
    )


# Made faces ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a search, its peak memory beyond that of before, and the planted
    pairs above the threshold that it found; ``share`` is the share of real pairs of one person
    above it."""

    search: SearchProgress
    jobs: int
    cpu_s: float
    memory_mb: float
    planted: int
    found: int
    others: int
    share: float


def made(count: int, rest: int, photos: Photos, table: Calibration) -> Cost:
    """Search a batch of ``count`` made-up people in a gallery with the ``rest``."""
    like = FaceLike(photos.vectors[photos.first_of_each()], SEED)
    limits = thresholds_for(count_pairs(count, rest), table, 1.0, 1e-2)
    mates = min(PLANTED, count // 4)
    originals = like.choose(mates, count // 2)
    cosines = np.linspace(limits.same + 0.001, 0.99, mates)
    with tempfile.TemporaryDirectory() as folder:
        gallery = new_gallery(Path(folder), table)
        if rest:
            others = (vector for portion in like.in_portions(rest) for vector in portion)
            gallery.fill(((f"r{at}", vector) for at, vector in enumerate(others)), None)
        batch = gallery.batch()
        gallery.fill(_people(like, count, originals, cosines), batch)
        before, began = _peak_mb(), time.process_time()
        search, jobs = gallery.search(batch)
        took = time.process_time() - began
        found = {
            frozenset({(each.face.item or 0) - 1, (each.other.item or 0) - 1})
            for each in findings_of(gallery.engine, batch.id, FindingKind.TWO_NAMES)
            if each.other is not None
        }
    wanted = {
        frozenset({int(place), count - mates + at}) for at, place in enumerate(originals)
    }
    return Cost(
        search, jobs, took, _peak_mb() - before, len(wanted), len(wanted & found),
        len(found - wanted), _genuine_above(photos, limits.same),
    )


def _people(
    like: FaceLike, count: int, originals: np.ndarray[tuple[int], np.dtype[np.int64]],
    cosines: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Iterator[tuple[str, np.ndarray[tuple[int], np.dtype[np.float32]]]]:
    """Faces with a name each; the last are mates of the ``originals``."""
    kept: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    wanted = set(originals.tolist())
    place = 0
    for portion in like.in_portions(count - len(originals)):
        for vector in portion:
            if place in wanted:
                kept[place] = vector
            yield f"p{place}", vector
            place += 1
    for original, cosine in zip(originals.tolist(), cosines.tolist(), strict=True):
        yield f"again{original}", like.mates(kept[original][None], cosine)[0]


def _genuine_above(photos: Photos, cosine: float) -> float:
    """The share of pairs of photos of one person that are found, of those in the folder."""
    alike: list[float] = []
    for person in np.unique(photos.people):
        own = photos.vectors[photos.people == person]
        one, two = np.triu_indices(len(own), 1)
        alike += np.einsum("ij,ij->i", own[one], own[two]).tolist()
    return float(np.mean(np.array(alike) >= cosine))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def codes_ns(vectors: Vectors) -> float:
    """Nanoseconds of CPU a pair takes by sign codes."""
    codes = Coder.fitted(vectors).encode(vectors)
    probes = 64
    began = time.process_time()
    for probe in codes.T[:probes]:
        hamming_distances(probe, codes)
    return (time.process_time() - began) / probes / len(vectors) * 1e9


def _alone(count: int, rest: int, photos: Photos, table: Calibration) -> Cost:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(made, count, rest, photos, table).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aligned", type=Path, required=True)
    parser.add_argument("--kept", type=Path, help="file to keep the embeddings in")
    parser.add_argument("--pack", default="edge")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--made", default="")
    parser.add_argument("--rest", type=int, default=0)
    parser.add_argument("--codes", action="store_true")
    asked = parser.parse_args()
    settings = load_settings().model_copy(update={"pack": asked.pack})
    pack = registry.load(registry.choose(settings), settings)
    photos = embed_aligned(asked.aligned, pack, asked.kept)
    table = load_table(asked.pack)
    assert table is not None
    if asked.real:
        for line in real(photos, table, asked.planted):
            print(line)
    if asked.codes:
        like = FaceLike(photos.vectors[photos.first_of_each()], SEED)
        print(f"sign codes: {codes_ns(like.people(32_768)):.1f} ns a pair")
    if asked.made:
        print("| faces | cosine | CPU s | ns a pair | MB | jobs | planted, found | others | real |")
        print("|---|---|---|---|---|---|---|---|---|")
    for count in map(int, filter(None, asked.made.split(","))):
        cost = _alone(count, asked.rest, photos, table)
        pairs = count_pairs(count, asked.rest)
        print(
            f"| {count:,} | {cost.search.same:.3f} | {cost.cpu_s:.1f} "
            f"| {cost.cpu_s / pairs * 1e9:.1f} | {cost.memory_mb:.0f} | {cost.jobs} "
            f"| {cost.planted}, {cost.found} | {cost.others} | {cost.share:.0%} |"
        )


if __name__ == "__main__":
    main()
