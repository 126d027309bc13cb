"""``faceline secrets``: rotating, looking, converting, destroying."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.keyring import encode_key, open_keyring
from pipeline.encryption.vault import open_vault
from tests.unit.infra.conftest import Faceline


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.encryption.data_keys.CACHE_S", 0.0)


def said(faceline: Faceline, *arguments: str) -> str:
    outcome = faceline(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out + outcome.err


def status(faceline: Faceline) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(faceline("secrets", "status", "--json").out)
    return found


def test_the_key_file_is_rotated_and_the_former_key_retired(
    faceline: Faceline, data_dir: Path
) -> None:
    issued = json.loads(faceline("apps", "create", "shop", "--json").out)
    (first,) = status(faceline)["keys"]

    assert "2 values are now encrypted under the key" in said(faceline, "secrets", "rotate")

    after = status(faceline)
    assert after["keys"][1:] == [first]
    assert {key for counts in after["secrets"].values() for key in counts} == {after["keys"][0]}
    assert "current" in said(faceline, "secrets", "status")
    assert "1 former keys are removed" in said(faceline, "secrets", "retire")
    assert len((data_dir / "master.key").read_text().splitlines()) == 1
    settings = load_settings()
    tenants = TenantStore(open_database(settings), open_vault(settings))
    assert tenants.credentials.by_api_key(issued["api_key"]) is not None
    signed = tenants.credentials.signing(issued["app_id"])
    assert signed is not None
    assert signed.secrets[0].secret == issued["app_secret"]


def test_an_interrupted_rotation_is_ended(faceline: Faceline, data_dir: Path) -> None:
    faceline("apps", "create", "shop")
    (first,) = status(faceline)["keys"]
    key_file = data_dir / "master.key"
    key_file.write_text(f"{encode_key(bytes(32))}\n{key_file.read_text()}")

    assert "completes it, with no new key" in said(faceline, "secrets", "rotate")

    assert status(faceline)["keys"][1:] == [first]
    said(faceline, "secrets", "rotate")
    assert len(status(faceline)["keys"]) == 3


def test_a_key_may_be_brought(faceline: Faceline, tmp_path: Path, data_dir: Path) -> None:
    faceline("apps", "create", "shop")
    (tmp_path / "fresh").write_text(said(faceline, "secrets", "new-key"))
    said(faceline, "secrets", "rotate", "--key-file", str(tmp_path / "fresh"))
    assert (data_dir / "master.key").read_text().startswith((tmp_path / "fresh").read_text())
    for wrong in ("absent", "broken"):
        (tmp_path / "broken").write_text("not a key")
        outcome = faceline("secrets", "rotate", "--key-file", str(tmp_path / wrong))
        assert outcome.code == 2
        assert len(outcome.err.splitlines()) == 1


def test_keys_of_the_environment(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = encode_key(bytes(32)), encode_key(bytes([1] * 32))
    monkeypatch.setenv("FACELINE_MASTER_KEY", old)
    faceline("apps", "create", "shop")
    outcome = faceline("secrets", "rotate")
    assert (outcome.code, "FACELINE_MASTER_KEYS_OLD" in outcome.err) == (2, True)
    monkeypatch.setenv("FACELINE_MASTER_KEY", new)
    outcome = faceline("apps", "list")
    assert outcome.code == 0
    outcome = faceline("secrets", "rotate")
    assert outcome.code == 2
    monkeypatch.setenv("FACELINE_MASTER_KEYS_OLD", old)
    assert "2 values" in said(faceline, "secrets", "rotate")
    assert "0 values" in said(faceline, "secrets", "rotate")
    assert faceline("secrets", "retire").code == 2
    monkeypatch.delenv("FACELINE_MASTER_KEYS_OLD")
    assert len(open_keyring(load_settings()).keys()) == 1
    assert len(status(faceline)["keys"]) == 1


def test_an_application_is_encrypted_and_its_key_destroyed(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    faceline("apps", "create", "shop")
    assert "0 pictures, 0 cutouts" in said(faceline, "secrets", "encrypt-tenant", "shop")
    monkeypatch.setenv("FACELINE_ENCRYPT_AT_REST", "true")
    faceline("apps", "create", "bank")
    assert status(faceline)["encrypted"] == {"shop": "on", "bank": "on"}
    assert "is destroyed" in said(faceline, "secrets", "destroy-tenant-key", "shop", "--yes")
    assert status(faceline)["encrypted"] == {"shop": "destroyed", "bank": "on"}
    for arguments in (
        ("destroy-tenant-key", "shop", "--yes"), ("encrypt-tenant", "shop"),
        ("destroy-tenant-key", "nobody", "--yes"),
    ):
        outcome = faceline("secrets", *arguments)
        assert outcome.code in (1, 2)
        assert len(outcome.err.splitlines()) == 1
    said(faceline, "gallery", "delete-tenant", "bank", "--yes")
    assert status(faceline)["encrypted"] == {"shop": "destroyed"}


def test_keys_are_kept_apart_from_backups(
    faceline: Faceline, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_ENCRYPT_AT_REST", "true")
    for name in ("bank", "shop"):
        faceline("apps", "create", name)
    copy, saved = tmp_path / "backup.db", tmp_path / "keys"
    assert faceline("secrets", "strip-keys", str(data_dir / "faceline.db")).code == 2
    back_up(data_dir / "faceline.db", copy)
    assert "2 keys are removed" in said(faceline, "secrets", "strip-keys", str(copy))
    said(faceline, "secrets", "destroy-tenant-key", "shop", "--yes")
    assert "1 keys are saved" in said(faceline, "secrets", "save-keys", str(saved))
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600

    back_up(copy, data_dir / "faceline.db")
    assert status(faceline)["encrypted"] == {"bank": "destroyed", "shop": "destroyed"}
    assert "1 keys are restored" in said(faceline, "secrets", "load-keys", str(saved))
    assert "0 keys are restored" in said(faceline, "secrets", "load-keys", str(saved))
    assert status(faceline)["encrypted"] == {"bank": "on", "shop": "destroyed"}
    saved.write_text("{}")
    for wrong in (saved, tmp_path / "absent"):
        assert faceline("secrets", "load-keys", str(wrong)).code == 2


def back_up(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
