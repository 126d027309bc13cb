"""The migrations make the schema that ``schema.py`` describes, on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text

from infra.cli.database import open_database
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, reading, writing
from pipeline.database.schema import METADATA
from pipeline.errors import ConfigurationError
from tests.expanding import contractions, reflect, use


def test_upgrade_makes_the_schema(bare_engine: Engine) -> None:
    assert migrate.revision(bare_engine) is None
    migrate.upgrade(bare_engine)
    assert migrate.revision(bare_engine) == migrate.head()
    with bare_engine.connect() as connection:
        opts = {"compare_type": True, "include_object": _is_made_here(bare_engine)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, METADATA) == []


def _is_made_here(engine: Engine) -> Callable[..., bool]:
    def is_made(item: object, *_: object) -> bool:
        only = getattr(item, "_ddl_if", None)
        return only is None or only.dialect == engine.dialect.name

    return is_made


def test_the_head_is_the_one_that_alembic_finds() -> None:
    assert ScriptDirectory.from_config(migrate.config_for()).get_heads() == [migrate.head()]


def test_the_first_migration_is_written_out_before_there_is_a_second() -> None:
    """A database of the first release does not have what ``schema.py`` gains after it."""
    first, *later = sorted((migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert not later or "METADATA" not in first.read_text()


def test_constraints_have_the_names_of_the_convention(bare_engine: Engine) -> None:
    migrate.upgrade(bare_engine)
    migrated = _names(bare_engine)
    METADATA.drop_all(bare_engine)
    METADATA.create_all(bare_engine)
    assert migrated == _names(bare_engine)


def _names(engine: Engine) -> set[str]:
    found = inspect(engine)
    names: set[str] = set()
    for table in METADATA.tables:
        names.add(str(found.get_pk_constraint(table)["name"]))
        names.update(str(item["name"]) for item in found.get_foreign_keys(table))
        names.update(str(item["name"]) for item in found.get_unique_constraints(table))
        names.update(str(item["name"]) for item in found.get_indexes(table))
    return names


def test_a_second_upgrade_keeps_rows(bare_engine: Engine) -> None:
    migrate.upgrade(bare_engine)
    with writing(bare_engine) as connection:
        connection.execute(
            METADATA.tables["tenants"].insert().values(name="kept", settings={}, created_at=1.0)
        )
    migrate.upgrade(bare_engine)
    with reading(bare_engine) as connection:
        assert connection.execute(text("SELECT name FROM tenants")).scalar_one() == "kept"


def test_a_database_of_the_first_release_keeps_its_rows(bare_engine: Engine) -> None:
    with writing(bare_engine) as connection:
        command.upgrade(migrate.config_for(connection), "0001")
        connection.execute(
            text("INSERT INTO signed_requests (tenant_id, digest, expires_at) VALUES (1, 'd', 2)")
        )
    assert migrate.revision(bare_engine) == "0001"
    migrate.upgrade(bare_engine)
    with reading(bare_engine) as connection:
        rows = connection.execute(select(METADATA.tables["signed_requests"])).all()
    assert [tuple(row) for row in rows] == [(1, "d", 2.0, None)]


def test_down_and_up_again(bare_engine: Engine) -> None:
    migrate.upgrade(bare_engine)
    with writing(bare_engine) as connection:
        command.downgrade(migrate.config_for(connection), "base")
    assert inspect(bare_engine).get_table_names() == ["alembic_version"]
    migrate.upgrade(bare_engine)
    assert set(METADATA.tables) < set(inspect(bare_engine).get_table_names())


def test_a_newer_database_is_refused(bare_engine: Engine) -> None:
    migrate.upgrade(bare_engine)
    with writing(bare_engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="another version"):
        migrate.upgrade(bare_engine)


def test_processes_that_start_at_once(empty_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        revisions = list(pool.map(_upgraded, [empty_url] * 4))
    assert revisions == [migrate.head()] * 4


def _upgraded(url: str) -> str | None:
    engine = open_engine(url)
    try:
        migrate.upgrade(engine)
        return migrate.revision(engine)
    finally:
        engine.dispose()


def test_a_draft_of_the_present_schema_is_empty(tmp_path: Path) -> None:
    """The command that drafts a migration after a change to ``schema.py`` works."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    migrate.draft("Nothing new", folder)
    written = folder / "versions" / f"{int(migrate.head()) + 1:04}_nothing_new.py"
    assert "pass" in written.read_text()
    compile(written.read_text(), str(written), "exec")


# What a migration takes away that the release before it no longer used, by its revision.
CONTRACTED: dict[str, set[str]] = {}

REVISIONS = sorted(path.name[:4] for path in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))


def migrate_to(engine: Engine, revision: str) -> None:
    with writing(engine) as connection:
        command.upgrade(migrate.config_for(connection), revision)


def test_every_migration_only_expands(bare_engine: Engine) -> None:
    """Processes of the last release run on the migrated database until they are replaced."""
    migrate_to(bare_engine, REVISIONS[0])
    before = reflect(bare_engine)
    for revision in REVISIONS[1:]:
        migrate_to(bare_engine, revision)
        after = reflect(bare_engine)
        assert set(contractions(before, after)) == CONTRACTED.get(revision, set()), revision
        if revision not in CONTRACTED:
            with writing(bare_engine) as connection:
                use(connection, before)
        before = after


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DROP TABLE signed_requests", "signed_requests is gone"),
        ("ALTER TABLE tenants DROP COLUMN unnamed", "tenants.unnamed is gone"),
        ("ALTER TABLE tenants RENAME COLUMN unnamed TO next", "tenants.unnamed is gone"),
        (
            "CREATE UNIQUE INDEX once ON signed_requests (expires_at)",
            "signed_requests has a new constraint on ['expires_at']",
        ),
    ],
)
def test_a_migration_that_contracts_is_found(
    bare_engine: Engine, change: str, found: str
) -> None:
    migrate.upgrade(bare_engine)
    before = reflect(bare_engine)
    with writing(bare_engine) as connection:
        connection.execute(text(change))
    assert found in list(contractions(before, reflect(bare_engine)))


def test_what_must_be_given_is_found(bare_engine: Engine) -> None:
    with writing(bare_engine) as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(4))",
            "CREATE TABLE before (id INTEGER PRIMARY KEY, kept TEXT)",
        ):
            connection.execute(text(statement))
    before = reflect(bare_engine)
    with writing(bare_engine) as connection:
        connection.execute(text("DROP TABLE before"))
        connection.execute(
            text("CREATE TABLE before (id INTEGER PRIMARY KEY, kept FLOAT, new TEXT NOT NULL)")
        )
    found = list(contractions(before, reflect(bare_engine)))
    assert len(found) == 2
    assert found[0].startswith("before.kept is ")
    assert found[1] == "before.new is new and must be given"


def test_a_process_and_the_database_of_another_release(
    empty_url: str, bare_engine: Engine, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings = Settings(database_url=empty_url, data_dir=tmp_path)
    migrate_to(bare_engine, REVISIONS[-2])
    if bare_engine.dialect.name == "sqlite":  # one machine's: it is migrated
        open_database(settings).dispose()
        assert migrate.revision(bare_engine) == REVISIONS[-1]
        return
    with pytest.raises(ConfigurationError, match=f"{REVISIONS[-2]}.*run `faceline init`"):
        open_database(settings)
    open_database(settings, migrate=True).dispose()
    # The next release has migrated it: this one's processes start all the same.
    with writing(bare_engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    open_database(settings).dispose()
    assert "finish the upgrade" in caplog.text
