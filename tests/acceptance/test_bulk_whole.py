"""A source with people and truth known, enrolled by the command from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bulk_harness import (
    Harness,
    Sample,
    check_gallery,
    check_progress,
    open_harness,
    wrong_outcomes,
)
from tests.bulk_photos import Recipe, write
from tests.waiting import TIMEOUT_S

PHOTOS = 70  # `tests.benchmarks.bulk_whole` has 10,000
SMALL, LARGE = 16, 160


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, edge_models: Path) -> Iterator[Harness]:
    with open_harness(
        tmp_path_factory.mktemp("whole"), edge_models, bulk_chunk=8, bulk_in_flight=4,
        detection_sizes="128",
    ) as harness:
        harness.start_upkeep()
        yield harness


def test_every_item_is_accounted_for(harness: Harness, tmp_path: Path, test_data: Path) -> None:
    source = tmp_path / "photos"
    truth = write(source, Recipe(PHOTOS, seed=6, copies=0.1), test_data / "lfw_aligned")
    samples: list[Sample] = []

    with harness.start_bulk(concurrency=1):
        cli = harness.enrol(source)
        while cli.running:
            samples.append(harness.sample(harness.batch()))
            time.sleep(0.05)
        summary = cli.wait()
        batch = harness.batch()

    check_progress([*samples, harness.sample(batch)])
    assert wrong_outcomes(harness, batch, truth) == []
    counts = check_gallery(harness, batch)
    assert counts["items"] == PHOTOS
    assert {name: summary[name] for name in counts} == counts


def test_applications_take_turns(harness: Harness, tmp_path: Path, test_data: Path) -> None:
    sizes, ids = {"large": LARGE, "small": SMALL}, {}
    for name, count in sizes.items():
        write(tmp_path / name, Recipe(count, seed=count), test_data / "lfw_aligned")
        ids[name] = harness.stack.add_tenant(name).tenant_id
    running = {name: harness.enrol(tmp_path / name, tenant=name) for name in sizes}
    for tenant in ids.values():  # both have handed over all that they may
        await_items(harness, tenant, SMALL)

    with harness.start_bulk(concurrency=1):
        while ended(harness, ids["small"]) < SMALL:
            time.sleep(0.02)
        large = ended(harness, ids["large"])
        running["large"].kill()
        running["small"].wait(TIMEOUT_S)

    assert large < LARGE / 4


def await_items(harness: Harness, tenant: int, count: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while harness.counts(harness.batch(tenant))[0]["items"] < count:
        assert time.monotonic() < until, harness.stack.cluster.logs()
        time.sleep(0.05)


def ended(harness: Harness, tenant: int) -> int:
    counts = harness.counts(harness.batch(tenant))[0]
    return counts["items"] - counts["waiting"]
