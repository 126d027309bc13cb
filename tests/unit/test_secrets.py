"""Secrets at rest: what is sealed opens, what was changed does not."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import ConfigurationError
from pipeline.secrets import KEY_BYTES, NONCE_BYTES, Vault, digest, open_vault


@pytest.fixture
def vault() -> Vault:
    return Vault(os.urandom(KEY_BYTES))


@pytest.mark.parametrize("secret", ["", "secret", "密钥" * 100])
def test_what_is_sealed_opens(vault: Vault, secret: str) -> None:
    sealed = vault.seal(secret, "owner")
    assert vault.open(sealed, "owner") == secret
    assert secret.encode() not in sealed or not secret


def test_sealing_twice_differs(vault: Vault) -> None:
    assert vault.seal("secret", "owner") != vault.seal("secret", "owner")


def test_a_seal_is_bound_to_its_owner(vault: Vault) -> None:
    with pytest.raises(ConfigurationError):
        vault.open(vault.seal("secret", "owner"), "another")


def test_another_master_key_does_not_open(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_MASTER_KEY"):
        Vault(os.urandom(KEY_BYTES)).open(vault.seal("secret", "owner"), "owner")


def test_no_changed_byte_is_accepted(vault: Vault) -> None:
    sealed = vault.seal("secret", "owner")
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(ConfigurationError):
            vault.open(bytes(changed), "owner")
    for length in (0, 1, NONCE_BYTES, len(sealed) - 1):
        with pytest.raises(ConfigurationError):
            vault.open(sealed[:length], "owner")


def test_a_fingerprint_recognises_one_secret_under_one_key(vault: Vault) -> None:
    mark = vault.fingerprint("secret")
    assert len(mark) == 32
    assert vault.recognises("secret", mark)
    assert not vault.recognises("Secret", mark)
    assert not vault.recognises("", mark)
    assert not vault.recognises("\ud800", mark)
    assert not Vault(os.urandom(KEY_BYTES)).recognises("secret", mark)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_has_32_bytes(length: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Vault(bytes(length))
    if length:
        key = base64.b64encode(bytes(length)).decode()
        with pytest.raises(ConfigurationError):
            open_vault(_settings(tmp_path, key))


@pytest.mark.parametrize("key", ["not base64!", "äöü", "abc"])
def test_a_key_is_base64(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Base64"):
        open_vault(_settings(tmp_path, key))


def test_the_configured_key_counts(tmp_path: Path) -> None:
    key = os.urandom(KEY_BYTES)
    vault = open_vault(_settings(tmp_path, base64.b64encode(key).decode()))
    assert Vault(key).open(vault.seal("secret", "o"), "o") == "secret"
    assert list(tmp_path.iterdir()) == []


def test_the_directorys_own_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "new" / "data")
    sealed = open_vault(settings).seal("secret", "o")
    assert open_vault(settings).open(sealed, "o") == "secret"
    (path,) = settings.data_dir.iterdir()
    assert path.name == "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_a_key(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(open_vault, [settings] * 8))
    marks = {vault.fingerprint("secret") for vault in vaults}
    assert len(marks) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="master key"):
        open_vault(_settings(tmp_path / "file"))


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    settings = _settings(tmp_path, base64.b64encode(bytes(KEY_BYTES)).decode())
    assert settings.master_key.get_secret_value() not in repr(settings)


def test_a_digest_knows_where_each_part_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("a", b"b") == digest(b"a", "b")
    assert len(digest()) == 64


def _settings(data_dir: Path, master_key: str = "") -> Settings:
    return Settings.model_validate({"data_dir": data_dir, "master_key": master_key})
