"""The command against the servers of a fleet: PostgreSQL and an S3 store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import MinioServer

Faceline = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def faceline(postgres_url: str, minio_server: MinioServer, tmp_path: Path) -> Faceline:
    """Runs `faceline ARGUMENTS` with a fleet's settings."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FACELINE_")},
        "FACELINE_DATA_DIR": str(tmp_path / "data"),
        "FACELINE_DATABASE_URL": postgres_url,
        "FACELINE_MEDIA_URL": f"{minio_server.url}/faceline",
        "FACELINE_MEDIA_ACCESS_KEY": minio_server.access_key,
        "FACELINE_MEDIA_SECRET_KEY": minio_server.secret_key,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=environment,
            capture_output=True, text=True, timeout=60, check=False,
        )

    return run


def test_a_fleet_is_prepared_once_and_before_anything_else(faceline: Faceline) -> None:
    for command in (("apps", "create", "shop"), ("serve",), ("worker",), ("upkeep",)):
        early = faceline(*command)
        assert early.returncode == 2
        assert "run `faceline init`" in early.stderr

    for said in ("faceline was created", "faceline can be used"):
        ended = faceline("init")
        assert ended.returncode == 0
        assert f"/{said}" in ended.stderr

    issued = json.loads(faceline("apps", "create", "shop", "--json").stdout)
    assert issued["app_id"] in faceline("apps", "list").stdout
    assert faceline("jobs", "list", "--json").stdout.strip() == "[]"


def test_the_doctor_finds_the_servers(faceline: Faceline, minio_server: MinioServer) -> None:
    assert faceline("init").returncode == 0
    report = json.loads(faceline("doctor", "--json").stdout)
    found = {check["name"]: check for check in report["checks"]}
    assert found["database"]["verdict"] == found["media"]["verdict"] == "good"
    assert found["database"]["found"].startswith("postgresql")

    minio_server.kill()

    report = json.loads(faceline("doctor", "--json").stdout)
    found = {check["name"]: check for check in report["checks"]}
    assert found["media"]["verdict"] == "bad"
