"""Whether the configured master key is the one that the database's secrets are encrypted under.

The pepper, which every database holds encrypted under the master key, is the key check value: a
well-formed key that does not decrypt it is the key of another deployment.
"""

from __future__ import annotations

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.encryption.key_fingerprints import stored_or_new_pepper, stored_pepper
from pipeline.encryption.keyring import KeyFile, open_keyring
from pipeline.encryption.vault import Vault


def check_master_key(engine: Engine, vault: Vault) -> bool:
    """Whether the database has a key check value, which one of the vault's keys then decrypts.
    Changes nothing.

    Raises ``WrongMasterKey`` when none does, and ``DatabaseUnavailable``.
    """
    return stored_pepper(engine, vault) is not None


def establish_master_key(engine: Engine, vault: Vault) -> None:
    """Check the master key, or make it the database's when that has none yet. Raises as
    ``check_master_key``."""
    stored_or_new_pepper(engine, vault)


def has_master_key(settings: Settings) -> bool:
    """Whether this process has a master key. A worker without encrypted applications, such as
    that of the stage `fetch`, needs none. Raises ``ConfigurationError`` for a malformed one."""
    ring = open_keyring(settings)
    named = not isinstance(ring, KeyFile) or bool(settings.master_key_file)
    return named or settings.data.master_key.exists()
