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
from pipeline.keyring import KEY_BYTES, FixedKeys, KeyFile, encoded
from pipeline.secrets import NONCE_BYTES, UNMARKED, Vault, digest, fingerprint, open_vault


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
    sealed = before.seal("secret", "owner")
    assert both.open(sealed, "owner") == "secret"
    assert not both.is_current(sealed)
    again = both.seal("secret", "owner")
    assert both.is_current(again)
    assert both.key_id(again) == both.ids()[0] == Vault(new).ids()[0]
    with pytest.raises(ConfigurationError):
        before.open(again, "owner")


def test_what_was_sealed_before_keys_had_names_opens() -> None:
    """The first version wrote the nonce and the ciphertext alone."""
    old, new = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    vault = Vault(FixedKeys(new, old))
    unnamed = Vault(old).seal("secret", "owner")[12:]
    assert vault.open(unnamed, "owner") == "secret"
    assert vault.key_id(unnamed) == UNMARKED
    assert not vault.is_current(unnamed)


def test_a_process_learns_of_a_new_key_in_the_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    running, other = open_vault(settings), open_vault(settings)
    sealed = running.seal("old", "o")
    KeyFile(tmp_path / "master.key").add(os.urandom(KEY_BYTES))
    fresh = other.seal("new", "o")
    assert running.open(fresh, "o") == "new"
    assert running.open(sealed, "o") == "old"
    assert running.ids()[0] == other.key_id(fresh) != other.key_id(sealed)
    assert KeyFile(tmp_path / "master.key").keep_current() == 1
    with pytest.raises(ConfigurationError):
        running.open(sealed, "o")
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600


def test_a_running_process_goes_on_without_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "master.key"
    running = Vault(KeyFile(path))
    known, kept = running.ids(), path.read_text()
    for broken in (None, "", "not a key"):
        path.unlink(missing_ok=True)
        if broken is not None:
            path.write_text(broken)
        caplog.clear()
        for _ in range(3):
            assert running.ids() == known
        assert not path.exists() or path.read_text() == broken, "no fresh key is made"
        assert len(caplog.records) <= 1
    path.write_text(kept)
    assert running.ids() == known
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
    (tmp_path / "mounted").write_text(f"{encoded(bytes(KEY_BYTES))}\n\n")
    assert open_vault(settings).ids() == Vault(bytes(KEY_BYTES)).ids()
    (tmp_path / "mounted").write_text("\n")
    with pytest.raises(ConfigurationError, match="no master key"):
        open_vault(settings)


def test_former_keys_of_the_environment(tmp_path: Path) -> None:
    old, new = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "master_key": encoded(new), "master_keys_old": f"{encoded(old)}, "}
    )
    assert open_vault(settings).open(Vault(old).seal("secret", "o"), "o") == "secret"
    with pytest.raises(ConfigurationError, match="MASTER_KEYS_OLD"):
        open_vault(
            Settings.model_validate({"data_dir": tmp_path, "master_keys_old": encoded(old)})
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
    assert len({tuple(vault.ids()) for vault in vaults}) == 1
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
