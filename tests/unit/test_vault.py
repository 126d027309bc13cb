"""Secrets at rest: encrypted values decrypt, altered ones do not."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config.settings import Settings
from pipeline.encryption.data_key import NONCE_BYTES
from pipeline.encryption.hashing import digest, fingerprint
from pipeline.encryption.keyring import KEY_BYTES, FixedKeys, KeyFile, encode_key
from pipeline.encryption.vault import Vault, open_vault
from pipeline.errors import ConfigurationError


@pytest.fixture
def vault() -> Vault:
    return Vault(os.urandom(KEY_BYTES))


@pytest.mark.parametrize("secret", ["", "secret", "密钥" * 100])
def test_what_is_sealed_opens(vault: Vault, secret: str) -> None:
    sealed = vault.encrypt(secret, "owner")
    assert vault.decrypt_text(sealed, "owner") == secret
    assert secret.encode() not in sealed or not secret


def test_sealing_twice_differs(vault: Vault) -> None:
    assert vault.encrypt("secret", "owner") != vault.encrypt("secret", "owner")


def test_a_seal_is_bound_to_its_owner(vault: Vault) -> None:
    with pytest.raises(ConfigurationError):
        vault.decrypt_text(vault.encrypt("secret", "owner"), "another")


def test_another_master_key_does_not_open(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_MASTER_KEY"):
        Vault(os.urandom(KEY_BYTES)).decrypt_text(vault.encrypt("secret", "owner"), "owner")


def test_no_changed_byte_is_accepted(vault: Vault) -> None:
    sealed = vault.encrypt("secret", "owner")
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(ConfigurationError):
            vault.decrypt_text(bytes(changed), "owner")
    for length in (0, 1, NONCE_BYTES, len(sealed) - 1):
        with pytest.raises(ConfigurationError):
            vault.decrypt_text(sealed[:length], "owner")


def test_a_fingerprint_hangs_on_secret_and_pepper() -> None:
    pepper = os.urandom(KEY_BYTES)
    mark = fingerprint(pepper, "secret")
    assert len(mark) == 32
    assert mark == fingerprint(pepper, "secret")
    others = {fingerprint(pepper, text) for text in ("Secret", "", "\ud800")}
    assert len(others | {mark, fingerprint(os.urandom(KEY_BYTES), "secret")}) == 5


def test_older_keys_still_open_and_the_current_one_seals() -> None:
    old, new = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    before, both = Vault(old), Vault(FixedKeys(new, old))
    sealed = before.encrypt("secret", "owner")
    assert both.decrypt_text(sealed, "owner") == "secret"
    assert not both.is_current(sealed)
    again = both.encrypt("secret", "owner")
    assert both.is_current(again)
    assert both.key_id(again) == both.key_ids()[0] == Vault(new).key_ids()[0]
    with pytest.raises(ConfigurationError):
        before.decrypt_text(again, "owner")


def test_a_process_learns_of_a_new_key_in_the_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    running, other = open_vault(settings), open_vault(settings)
    sealed = running.encrypt("old", "o")
    KeyFile(tmp_path / "master.key").add(os.urandom(KEY_BYTES))
    fresh = other.encrypt("new", "o")
    assert running.decrypt_text(fresh, "o") == "new"
    assert running.decrypt_text(sealed, "o") == "old"
    assert running.key_ids()[0] == other.key_id(fresh) != other.key_id(sealed)
    assert KeyFile(tmp_path / "master.key").remove_former() == 1
    with pytest.raises(ConfigurationError):
        running.decrypt_text(sealed, "o")
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600


def test_a_running_process_goes_on_without_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "master.key"
    running = Vault(KeyFile(path))
    known, kept = running.key_ids(), path.read_text()
    for broken in (None, "", "not a key"):
        path.unlink(missing_ok=True)
        if broken is not None:
            path.write_text(broken)
        caplog.clear()
        for _ in range(3):
            assert running.key_ids() == known
        assert not path.exists() or path.read_text() == broken, "no fresh key is made"
        assert len(caplog.records) <= 1
    path.write_text(kept)
    assert running.key_ids() == known
    path.write_text("not a key")
    with pytest.raises(ConfigurationError):
        KeyFile(path).add(os.urandom(KEY_BYTES))


def test_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    first = KeyFile(path).keys()
    added = [os.urandom(KEY_BYTES) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: KeyFile(path).add(key), added))
    assert set(KeyFile(path).keys()) == {*first, *added}
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


def test_a_named_key_file_is_not_made(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, master_key_file=str(tmp_path / "mounted"))
    with pytest.raises(ConfigurationError, match="master key"):
        open_vault(settings)
    (tmp_path / "mounted").write_text(f"{encode_key(bytes(KEY_BYTES))}\n\n")
    assert open_vault(settings).key_ids() == Vault(bytes(KEY_BYTES)).key_ids()
    (tmp_path / "mounted").write_text("\n")
    with pytest.raises(ConfigurationError, match="no master key"):
        open_vault(settings)


def test_former_keys_of_the_environment(tmp_path: Path) -> None:
    old, new = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "master_key": encode_key(new),
            "master_keys_old": f"{encode_key(old)}, ",
        }
    )
    assert open_vault(settings).decrypt_text(Vault(old).encrypt("secret", "o"), "o") == "secret"
    with pytest.raises(ConfigurationError, match="MASTER_KEYS_OLD"):
        open_vault(
            Settings.model_validate({"data_dir": tmp_path, "master_keys_old": encode_key(old)})
        )


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
    assert Vault(key).decrypt_text(vault.encrypt("secret", "o"), "o") == "secret"
    assert list(tmp_path.iterdir()) == []


def test_the_directorys_own_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "new" / "data")
    sealed = open_vault(settings).encrypt("secret", "o")
    assert open_vault(settings).decrypt_text(sealed, "o") == "secret"
    (path,) = settings.data_dir.iterdir()
    assert path.name == "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_a_key(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(open_vault, [settings] * 8))
    assert len({tuple(vault.key_ids()) for vault in vaults}) == 1
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
