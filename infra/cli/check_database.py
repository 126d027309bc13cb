"""``faceline doctor`` about the database: its reach, tables, rights and limits, the master key,
and the processes that say in it that they run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.database.diagnosis import (
    NETWORK_FILE_SYSTEMS,
    OLDEST_POSTGRES,
    advice_on,
    file_system,
    server_state,
    sqlite_file,
    unwritable,
)
from pipeline.database.engine import open_engine
from pipeline.database.migrate import head, revision
from pipeline.database.write_probe import probe_room
from pipeline.deployment.findings import Check, Verdict, check_processes, clock_check, judged
from pipeline.deployment.pack import choose_pack, foreign_galleries, pinned_pack
from pipeline.encryption.key_check import check_master_key, has_master_key
from pipeline.encryption.vault import open_vault
from pipeline.errors import (
    ConfigurationError,
    DatabaseFull,
    DatabaseUnavailable,
    PackError,
    WrongMasterKey,
)


def check_database(settings: Settings) -> Iterator[Check]:
    """Everything about the database; what rests on it is not asked while it is away."""
    file = sqlite_file(settings.sql_url)
    if file is not None:
        if not file.exists():
            advice = "`faceline up` or `faceline init` creates it"
            yield Check("database", Verdict.NOTE, f"not created yet: {file}", advice)
            return
        yield from _check_file(file)
    engine = open_engine(settings.sql_url)
    try:
        yield from _check_engine(engine, settings)
    except DatabaseUnavailable as error:
        yield Check("database", Verdict.BAD, error.message, advice_on(error))
    finally:
        engine.dispose()


def _check_file(file: Path) -> Iterator[Check]:
    if (denied := unwritable(file)) is not None:
        yield Check(
            "database", Verdict.BAD, f"this user may not write to {denied}",
            "change its owner or permissions; SQLite also writes beside the file",
        )
    if (kind := file_system(file)) in NETWORK_FILE_SYSTEMS:
        yield Check(
            "database", Verdict.BAD, f"SQLite is on a network file system ({kind})",
            f"move it to a local disk ({variable('data_dir')}), or use PostgreSQL "
            f"({variable('database_url')}): locks over a network lose data",
        )


def _check_engine(engine: Engine, settings: Settings) -> Iterator[Check]:
    found = revision(engine)
    where = engine.url.render_as_string(hide_password=True)
    newer = found is not None and found > head()
    yield judged(
        "database", found == head(), f"{where} at revision {found or 'none'}",
        f"this version needs {head()}: " + (
            "a later version of faceline migrated it; install that one" if newer
            else "run `faceline init`"
        ),
    )
    if engine.dialect.name == "postgresql":
        yield from _check_server(engine)
    yield from _check_room(engine)
    if engine.dialect.name == "postgresql":
        yield clock_check(database_time(engine) - time.time(), "the database")
    if found != head():
        return
    yield from _check_key(engine, settings)
    yield from _check_pack(engine, settings)
    yield from check_processes(engine, settings)


def _check_server(engine: Engine) -> Iterator[Check]:
    state = server_state(engine)
    if state.version < OLDEST_POSTGRES:
        yield Check(
            "database", Verdict.BAD, f"PostgreSQL {state.version}",
            f"use PostgreSQL {OLDEST_POSTGRES} or later",
        )
    if state.standby or state.read_only:
        kind = "a standby" if state.standby else "set to be read-only"
        yield Check(
            "database", Verdict.BAD, f"it is read-only: {kind}",
            f"name the primary in {variable('database_url')} (several hosts: "
            "?target_session_attrs=read-write)" if state.standby
            else "take default_transaction_read_only from the user, the database or the server",
        )
    if state.denied:
        yield Check(
            "database", Verdict.BAD,
            f"this user may not change {len(state.denied)} tables, such as {state.denied[0]}",
            "grant SELECT, INSERT, UPDATE and DELETE on all tables, or use the user of "
            "`faceline init`",
        )
    without = [name for name, value in state.limits.items() if not value]
    pooler = ", behind a pooler: set in each transaction" if state.pooled else ""
    yield judged(
        "limits", not without,
        f"without limit: {', '.join(without)}" if without
        else f"every statement and lock has its limit{pooler}",
        "a pooler drops them: connect directly, or use PgBouncer in session or transaction mode",
    )


def _check_room(engine: Engine) -> Iterator[Check]:
    try:
        probe_room(engine)
    except DatabaseFull as error:
        yield Check("database", Verdict.BAD, error.message, "make room on its disk")
    except DatabaseUnavailable:
        return  # as the other checks say


def _check_key(engine: Engine, settings: Settings) -> Iterator[Check]:
    try:
        if not has_master_key(settings) or not check_master_key(engine, open_vault(settings)):
            return
    except WrongMasterKey as error:
        yield Check(
            "master key", Verdict.BAD, error.message,
            f"set {variable('master_key')} or {variable('master_key_file')} to the key that the "
            f"deployment was made with (a former one belongs in {variable('master_keys_old')})",
        )
    except ConfigurationError:
        return  # malformed, as the check of the key itself says
    else:
        yield Check("master key", Verdict.GOOD, "it is the database's")


def _check_pack(engine: Engine, settings: Settings) -> Iterator[Check]:
    """Whether this machine's pack is the deployment's, and that of all galleries."""
    try:
        pinned = pinned_pack(engine)
        info = choose_pack(settings, engine, alone=True)
    except PackError as error:
        yield Check("deployed pack", Verdict.BAD, error.message)
        return
    yield judged(
        "deployed pack", pinned is not None, str(pinned or "none yet"),
        "the first worker's pack becomes it, or `faceline models pin NAME` chooses it",
        Verdict.NOTE,
    )
    for tenant, pack in foreign_galleries(engine, info).items():
        yield Check(
            "gallery", Verdict.BAD, f"the gallery of {tenant} has vectors of the pack {pack!r}",
            f"use that pack (`faceline models pin {pack}`), or enrol the gallery again",
        )
