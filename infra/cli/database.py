"""``faceline init``, and opening the database for commands."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cached_property

from sqlalchemy import Engine

from infra.cli.console import print_notice
from infra.local.private_files import make_data_dir
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings, load_settings
from pipeline.database.engine import open_engine
from pipeline.database.migrate import head, revision, upgrade
from pipeline.deletions.journal import DeletionJournal, open_journal, open_journal_store
from pipeline.deployment.pack import agree_on_pack, choose_pack, pinned_pack
from pipeline.encryption.data_keys import TenantKeys, open_keys
from pipeline.encryption.key_check import establish_master_key, has_master_key
from pipeline.encryption.keyring import FixedKeys, KeyFile, open_keyring
from pipeline.encryption.vault import Vault, open_vault
from pipeline.errors import ConfigurationError, DatabaseUnavailable, PackMissing
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo

logger = logging.getLogger(__name__)


def init() -> None:
    """Prepare the database's tables and the media store."""
    settings = load_settings()
    engine = open_database(settings, migrate=True)
    print_notice("The database has the tables that this version needs.")
    if has_master_key(settings):
        establish_master_key(engine, open_vault(settings))
    print_notice(_pin(settings, engine))
    engine.dispose()
    made = open_media(settings).prepare()
    if settings.journal_url:
        open_journal_store(settings).prepare()
    print_notice(
        f"The media store {settings.media_location} {'was created' if made else 'can be used'}."
    )


def _pin(settings: Settings, engine: Engine) -> str:
    """Record the pack that the settings name; a sentence about the deployment's pack. Raises
    ``WrongPack``."""
    if settings.pack != registry.AUTO:
        with suppress(PackMissing):  # only workers need the models
            agree_on_pack(settings, engine)
    pinned = pinned_pack(engine)
    if pinned is None:
        return (
            "The deployment has no pack yet: the first worker's becomes it, or "
            "`faceline models pin NAME` chooses it."
        )
    return f"The deployment's pack is {pinned}."


def open_database(settings: Settings, *, migrate: bool = False) -> Engine:
    """The database, with the tables that this code needs.

    SQLite, which one machine uses, is migrated here; another database only with
    ``migrate``. One that the next release has migrated already is used as it is: migrations only
    add. Raises ``ConfigurationError`` when the database is older, ``DatabaseUnavailable``.
    """
    if not settings.database_url:
        make_data_dir(settings.data_dir)
    engine = open_engine(settings.sql_url)
    if migrate or engine.dialect.name == "sqlite":
        upgrade(engine)
        return engine
    found = revision(engine) or "none"
    if found == "none" or found < head():
        engine.dispose()
        raise ConfigurationError(
            f"the database is at revision {found} and this version needs {head()}; "
            "run `faceline init` of this version"
        )
    if found > head():
        logger.warning(
            "The database is at revision %s and this version knows %s: finish the upgrade",
            found, head(), extra={"action": "older_than_database"},
        )
    return engine


def pack_here(settings: Settings) -> PackInfo:
    """The pack for a command that needs no running service: the one that the settings name; for
    ``auto`` the deployment's, or the best one found where there is no deployment yet. Raises as
    ``choose_pack``."""
    there = bool(settings.database_url) or settings.data.database.exists()
    if settings.pack == registry.AUTO and there:
        engine = open_engine(settings.sql_url)
        try:
            return choose_pack(settings, engine, alone=True)
        except DatabaseUnavailable:
            pass  # the command works without it
        finally:
            engine.dispose()
    return registry.choose(settings)


class Stores:
    """The stores of a deployment, each opened when it is first used. Without ``settings``
    the configured ones."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.engine = open_database(self.settings)

    @cached_property
    def keyring(self) -> FixedKeys | KeyFile:
        return open_keyring(self.settings)

    @cached_property
    def pack(self) -> PackInfo:
        """The deployment's pack on this machine. Raises as ``choose_pack``."""
        return choose_pack(self.settings, self.engine)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.keyring)

    @cached_property
    def tenants(self) -> TenantStore:
        return TenantStore(self.engine, self.vault)

    def chosen_tenants(self, name: str | None) -> list[Tenant]:
        """The named application; without a name all of them."""
        return self.tenants.all() if name is None else [self.tenants.by_name(name)]

    @cached_property
    def keys(self) -> TenantKeys:
        return open_keys(self.settings, self.engine)

    @cached_property
    def journal(self) -> DeletionJournal:
        return open_journal(self.settings, self.engine, self.vault)

    @cached_property
    def media(self) -> MediaStore:
        return open_media(self.settings, self.keys)
