"""The metrics of one process and of those that it forks, read as Prometheus reads them."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, DatabaseUnavailable, MediaNotFound, MediaUnavailable
from pipeline.metrics import catalogue
from pipeline.metrics.catalogue import COUNTING, GAUGES, POISON_JOBS, STAGE_SECONDS
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.metrics.instruments import MetricCounter
from pipeline.metrics.stores import StoreCall
from pipeline.operations import Stage
from tests.parallel import free_port


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with a free port, and a temporary folder of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[MmapedDict] = []

    def open_counts(*arguments: Any) -> MmapedDict:
        opened.append(MmapedDict(*arguments))
        return opened[-1]

    monkeypatch.setattr(values, "MmapedDict", open_counts)
    yield Settings(metrics_port=free_port())
    for counts in opened:
        counts.close()  # the library leaves that to the end of the process


def shown(endpoint: MetricsEndpoint) -> dict[str, float]:
    """The samples that the endpoint shows, by name and labels."""
    answer = requests.get(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10)
    assert answer.status_code == 200
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def in_child(endpoint: MetricsEndpoint, place: int, work: Callable[[], object]) -> int:
    """The wait status of a forked process that counts as the one at ``place``."""
    pid = os.fork()
    if pid == 0:
        try:
            endpoint.enter_fork(place)
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_without_a_port_nothing_is_counted_or_served() -> None:
    with MetricsEndpoint(Settings()) as endpoint:
        POISON_JOBS.add()
        assert endpoint.port == 0

    assert not STAGE_SECONDS.counts


def test_it_listens_on_loopback_unless_told_otherwise(settings: Settings) -> None:
    with MetricsEndpoint(settings) as endpoint:
        assert endpoint.host == "127.0.0.1"


def test_a_port_that_is_taken_is_a_wrong_setting(settings: Settings) -> None:
    with (
        MetricsEndpoint(settings),
        pytest.raises(ConfigurationError, match="FACELINE_METRICS_PORT"),
        MetricsEndpoint(settings),
    ):
        pass


def test_counts_and_gauges_are_shown_and_forgotten_at_the_end(settings: Settings) -> None:
    with MetricsEndpoint(settings) as endpoint:
        endpoint.add(lambda: [catalogue.JOBS_WAITING.reading(3, "detect")])
        POISON_JOBS.add()
        STAGE_SECONDS.observe(0.3, "decode")
        found = shown(endpoint)

    assert found["faceline_poison_jobs_total"] == 1
    assert found['faceline_stage_seconds_count{stage="decode"}'] == 1
    assert found['faceline_stage_seconds_bucket{le="0.25",stage="decode"}'] == 0
    assert found['faceline_stage_seconds_bucket{le="0.5",stage="decode"}'] == 1
    assert found['faceline_jobs_waiting{stage="detect"}'] == 3
    with MetricsEndpoint(settings) as endpoint:
        assert shown(endpoint)["faceline_poison_jobs_total"] == 0


def test_what_alerts_watch_is_shown_before_it_happens(settings: Settings) -> None:
    with MetricsEndpoint(settings) as endpoint:
        found = shown(endpoint)

    assert found["faceline_poison_jobs_total"] == 0
    assert found['faceline_store_errors_total{store="database"}'] == 0
    assert {f'faceline_messages_resent_total{{stage="{stage}"}}' for stage in Stage} <= set(found)


@pytest.mark.parametrize("forks", [False, True])
def test_only_the_fault_of_a_store_counts_as_its_error(settings: Settings, forks: bool) -> None:
    calls = [
        ("media", MediaNotFound), ("media", MediaUnavailable), ("media", DatabaseUnavailable),
        ("database", DatabaseUnavailable),
    ]
    with MetricsEndpoint(settings, forks=forks) as endpoint:
        for store, error in calls:
            with pytest.raises(error), StoreCall(store, "get"):  # type: ignore[arg-type]
                raise error
        found = shown(endpoint)

    assert found['faceline_store_errors_total{store="media"}'] == 1
    assert found['faceline_store_errors_total{store="database"}'] == 1
    assert found['faceline_store_seconds_count{call="get",store="media"}'] == 3


def test_a_parent_shows_the_sums_of_its_processes(settings: Settings) -> None:
    def work() -> None:
        POISON_JOBS.add()
        STAGE_SECONDS.observe(0.3, "decode")

    with MetricsEndpoint(settings, forks=True) as endpoint:
        POISON_JOBS.add()
        for place in (0, 1):
            assert in_child(endpoint, place, work) == 0
        found = shown(endpoint)

    assert found["faceline_poison_jobs_total"] == 3
    assert found['faceline_stage_seconds_count{stage="decode"}'] == 2
    assert found['faceline_stage_seconds_bucket{le="0.5",stage="decode"}'] == 2


def test_counts_outlast_a_killed_process_and_its_successor_takes_its_file_over(
    settings: Settings, tmp_path: Path
) -> None:
    def count_and_die() -> None:
        POISON_JOBS.add()
        os.kill(os.getpid(), signal.SIGKILL)

    with MetricsEndpoint(settings, forks=True) as endpoint:
        for _ in range(5):
            assert in_child(endpoint, 0, count_and_die) == signal.SIGKILL
        found = shown(endpoint)
        files = sorted(path.name for path in tmp_path.glob("faceline-metrics-*/counter*"))

    assert found["faceline_poison_jobs_total"] == 5
    assert files == ["counter_0.db", "counter_parent.db"]


def test_what_a_killed_worker_left_is_removed_and_nothing_else(
    settings: Settings, tmp_path: Path
) -> None:
    left, live, other = (tmp_path / f"faceline-metrics-{name}" for name in ("left", "new", "link"))
    victim = tmp_path / "victim"
    victim.write_text("kept")
    for folder in (left, live, other):
        folder.mkdir()
    (other / "lock").symlink_to(victim)
    for folder in (left, other):
        os.utime(folder, (time.time() - 3600,) * 2)

    with MetricsEndpoint(settings, forks=True), MetricsEndpoint(Settings(), forks=True):
        assert not left.exists()
        assert live.exists()
        assert victim.read_text() == "kept"

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faceline-metrics-link", "faceline-metrics-new", "victim",
    ]


def test_the_stages_are_those_of_the_service() -> None:
    assert set(Stage) == set(catalogue.STAGES)


def test_names_are_the_service_s_own_and_unique() -> None:
    names = [each.name for each in (*COUNTING, *GAUGES)]

    assert len(names) == len(set(names))
    assert all(name.startswith("faceline_") for name in names)


def test_every_metric_stands_on_its_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    rows = [
        f"| `{each.name}{'_total' * isinstance(each, MetricCounter)}` | "
        f"{', '.join(f'`{label}`' for label in each.labels)} | {each.text} |"
        for each in (*COUNTING, *GAUGES)
    ]

    assert [row for row in rows if row not in page] == []
