"""A master key of another deployment is found out before it is used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from infra.cli import processes
from pipeline.config.settings import Settings
from pipeline.encryption.key_check import (
    check_master_key,
    establish_master_key,
    has_master_key,
)
from pipeline.encryption.keyring import KEY_BYTES, FixedKeys, encode_key
from pipeline.encryption.rewrap import rewrap_all
from pipeline.encryption.vault import Vault
from pipeline.errors import WrongMasterKey

RIGHT, WRONG, NEW = (os.urandom(KEY_BYTES) for _ in range(3))


def test_a_new_database_has_no_key_yet(engine: Engine) -> None:
    assert not check_master_key(engine, Vault(WRONG))
    assert not check_master_key(engine, Vault(RIGHT))


def test_the_first_key_stays_the_databases(engine: Engine) -> None:
    establish_master_key(engine, Vault(RIGHT))
    assert check_master_key(engine, Vault(RIGHT))
    for refused in (check_master_key, establish_master_key):
        with pytest.raises(WrongMasterKey, match="FACELINE_MASTER_KEY"):
            refused(engine, Vault(WRONG))
    assert check_master_key(engine, Vault(RIGHT))


def test_rotation_leaves_the_new_key_alone(engine: Engine) -> None:
    establish_master_key(engine, Vault(RIGHT))
    both = Vault(FixedKeys(NEW, RIGHT))
    assert check_master_key(engine, both)
    with pytest.raises(WrongMasterKey):
        check_master_key(engine, Vault(NEW))
    rewrap_all(engine, both)
    assert check_master_key(engine, Vault(NEW))
    with pytest.raises(WrongMasterKey):
        check_master_key(engine, Vault(RIGHT))


def test_no_process_starts_with_another_key(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_DATABASE_URL", database_url)
    monkeypatch.setenv("FACELINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FACELINE_MASTER_KEY", encode_key(RIGHT))
    processes._settings(needs_key=True)
    processes._settings()
    monkeypatch.setenv("FACELINE_MASTER_KEY", encode_key(WRONG))
    for needs_key in (True, False):
        with pytest.raises(WrongMasterKey):
            processes._settings(needs_key=needs_key)
    # A worker of the stage `fetch` has none.
    monkeypatch.delenv("FACELINE_MASTER_KEY")
    processes._settings()
    assert not (tmp_path / "master.key").exists()


def test_a_key_file_counts_where_it_is(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert not has_master_key(settings)
    settings.data.master_key.write_text(encode_key(RIGHT))
    assert has_master_key(settings)
    assert has_master_key(Settings(master_key_file=str(tmp_path / "elsewhere")))
