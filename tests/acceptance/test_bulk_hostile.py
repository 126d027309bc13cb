"""Sources that mean harm, enrolled by the command: each item reported, nothing fatal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bulk_harness import Harness, check_gallery, open_harness
from tests.hostile_sources import MAKERS, obey_modes, outcome

TINY = 20  # `tests.benchmarks.bulk_hostile` has 100,000


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, edge_models: Path) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("hostile")
    with open_harness(folder, edge_models, detection_sizes="128") as harness:
        harness.start_bulk(concurrency=1)
        harness.start_upkeep()
        yield harness


@pytest.mark.parametrize("kind", list(MAKERS))
def test_every_item_is_reported(
    harness: Harness, kind: str, tmp_path: Path, test_data: Path
) -> None:
    photos = sorted((test_data / "photos").glob("*/*.jpg"))[:2]
    source = tmp_path / kind
    expected = MAKERS[kind](source, [photo.read_bytes() for photo in photos], TINY)
    tenant = harness.stack.add_tenant(kind)
    report = tmp_path / "report.jsonl"

    cli = harness.enrol(source, "--report", str(report), tenant=kind, prepare=obey_modes)
    summary = cli.wait(120)

    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    found = Counter((line["source_name"], outcome(line)) for line in lines)
    assert found == Counter(expected), (found - Counter(expected), Counter(expected) - found)
    assert summary["items"] == len(expected)
    counts = check_gallery(harness, harness.batch(tenant.tenant_id), tenant.tenant_id)
    assert counts["enrolled"] == 2
    assert sorted(tmp_path.iterdir()) == sorted([source, report])
