"""The checks of the embedded stack before it starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from infra.local.deployment import open_deployment
from infra.local.stack import LocalStack, require_free, running_stack, take_lock
from pipeline.config.settings import Settings
from pipeline.errors import BrokerUnavailable, ConfigurationError, PackMissing
from tests.parallel import free_port


def test_one_stack_a_data_directory(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
        take_lock(tmp_path / "data")

    first.close()
    take_lock(tmp_path / "data").close()


def test_a_stack_that_starts_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    lock = take_lock(tmp_path)
    left = iter((False, False, True))
    settings = Settings(data_dir=tmp_path, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    with (
        pytest.raises(BrokerUnavailable),
        open_deployment(settings, said.append, lambda: next(left)),
    ):
        pass
    assert len(said) == 1
    lock.close()
    with pytest.raises(BrokerUnavailable), open_deployment(settings, pytest.fail, lambda: False):
        pass


def test_networks_that_are_none_stop_the_start(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", models=str(tmp_path), fetch_urls=True,
        fetch_deny_networks="example",
    )
    stack = LocalStack(settings, lambda _: None, lambda: False)
    with pytest.raises(ConfigurationError, match="FACELINE_FETCH_DENY_NETWORKS"), stack:
        pass
    assert not (tmp_path / "data").exists()


def test_a_data_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    take_lock(tmp_path / "data").close()

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_what_a_dead_stack_left_is_no_running_stack(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"pid": 1, "url": "http://x", "redis_url": "redis://x"}')
    assert running_stack(tmp_path) is None

    with take_lock(tmp_path):
        found = running_stack(tmp_path)
        assert found is not None
        assert found.url == "http://x"


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"port {port} .* --port N"):
            require_free("127.0.0.1", port)

    require_free("127.0.0.1", port)


def test_nothing_starts_when_the_pack_is_missing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", pack="no-such-pack", port=0)
    said: list[str] = []

    with pytest.raises(PackMissing), LocalStack(settings, said.append, lambda: False):
        pass

    assert said == []
    assert not (tmp_path / "data").exists()
