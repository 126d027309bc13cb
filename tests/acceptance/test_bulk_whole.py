"""A source with people and truth known, enrolled by the command from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bulk_photos import Recipe, write
from tests.bulk_rig import (
    Rig,
    Sample,
    check_gallery,
    check_progress,
    open_rig,
    wrong_outcomes,
)

PHOTOS = 70  # `tests.benchmarks.bulk_whole` has 10,000
SMALL, LARGE = 16, 160
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, edge_models: Path) -> Iterator[Rig]:
    with open_rig(
        tmp_path_factory.mktemp("whole"), edge_models, bulk_chunk=8, bulk_in_flight=4,
        detection_sizes="128",
    ) as rig:
        rig.start_upkeep()
        yield rig


def test_every_item_is_accounted_for(rig: Rig, tmp_path: Path, test_data: Path) -> None:
    source = tmp_path / "photos"
    truth = write(source, Recipe(PHOTOS, seed=6, copies=0.1), test_data / "lfw_aligned")
    samples: list[Sample] = []

    with rig.start_bulk(concurrency=1):
        cli = rig.enrol(source)
        while cli.running:
            samples.append(rig.sample(rig.batch()))
            time.sleep(0.05)
        summary = cli.wait()
        batch = rig.batch()

    check_progress([*samples, rig.sample(batch)])
    assert wrong_outcomes(rig, batch, truth) == []
    counts = check_gallery(rig, batch)
    assert counts["items"] == PHOTOS
    assert {name: summary[name] for name in counts} == counts


def test_applications_take_turns(rig: Rig, tmp_path: Path, test_data: Path) -> None:
    sizes, ids = {"large": LARGE, "small": SMALL}, {}
    for name, count in sizes.items():
        write(tmp_path / name, Recipe(count, seed=count), test_data / "lfw_aligned")
        ids[name] = rig.stack.add_tenant(name).tenant_id
    running = {name: rig.enrol(tmp_path / name, tenant=name) for name in sizes}
    for tenant in ids.values():  # both have handed over all that they may
        await_items(rig, tenant, SMALL)

    with rig.start_bulk(concurrency=1):
        while ended(rig, ids["small"]) < SMALL:
            time.sleep(0.02)
        large = ended(rig, ids["large"])
        running["large"].kill()
        running["small"].wait(WITHIN_S)

    assert large < LARGE / 4


def await_items(rig: Rig, tenant: int, count: int) -> None:
    until = time.monotonic() + WITHIN_S
    while rig.counts(rig.batch(tenant))[0]["items"] < count:
        assert time.monotonic() < until, rig.stack.yard.logs()
        time.sleep(0.05)


def ended(rig: Rig, tenant: int) -> int:
    counts = rig.counts(rig.batch(tenant))[0]
    return counts["items"] - counts["waiting"]
