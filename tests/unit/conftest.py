"""Unit tests ask for no server: they run in seconds on a machine that has none."""

from __future__ import annotations

import pytest

# Fixtures that start a server, or that run a test once for each database.
SERVERS = frozenset({
    "redis_server", "minio_server", "shared_minio", "postgres_server", "postgres_url",
    "migrated_url", "database_url", "empty_url", "backend", "make_cluster", "stack", "idle_stack",
})


def pytest_runtest_setup(item: pytest.Item) -> None:
    asked = SERVERS & set(getattr(item, "fixturenames", ()))
    assert not asked, f"a unit test asks for {sorted(asked)}: put it into tests/integration"
