"""The number of connections that a process keeps, by the files that it may open."""

from __future__ import annotations

import resource

import pytest

from api_shim import serve
from pipeline.config.settings import Settings


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "kept"),
    [
        (10_000, 10_000, None, 2000),
        (1024, 10_000, 2514, 2000),
        (1024, resource.RLIM_INFINITY, 2514, 2000),
        (1024, 1024, 1024, 674),
        (64, 64, 64, 8),
    ],
)
def test_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    soft: int, hard: int, raised: int | None, kept: int,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert serve._connection_limit(Settings(max_connections=2000)) == kept
    assert asked == ([] if raised is None else [(raised, hard)])
    assert bool(caplog.records) == (kept < 2000)
