"""A source that is enrolled while the command, the workers, Redis and the shim are killed at
random: repeating the command completes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.bulk_whole import Run
from tests.bulk_harness import check_gallery, check_progress, open_harness, wrong_outcomes
from tests.bulk_photos import Recipe, write

pytestmark = pytest.mark.heavy

PHOTOS = 90  # `tests.benchmarks.bulk_whole --kills 3` has 10,000
KILLS = 1  # of each


def test_killed_while_a_source_is_enrolled(
    tmp_path: Path, edge_models: Path, test_data: Path
) -> None:
    source = tmp_path / "photos"
    truth = write(source, Recipe(PHOTOS, seed=11, copies=0.1), test_data / "lfw_aligned")
    with open_harness(
        tmp_path / "harness", edge_models, bulk_chunk=8, bulk_in_flight=4, max_attempts=20,
        detection_sizes="128",
    ) as harness:
        harness.start_bulk(concurrency=1)
        harness.start_upkeep()
        harness.start_shim()
        run = Run(harness, source, PHOTOS, KILLS, seed=11)
        run.go()
        batch = harness.batch()
        check_progress([*run.samples, harness.sample(batch)])
        assert wrong_outcomes(harness, batch, truth) == []
        counts = check_gallery(harness, batch)
    assert len(run.killed) == 4 * KILLS
    assert run.commands > KILLS
    assert counts["items"] == PHOTOS
