"""Databases for tests that must pass on both SQLite and PostgreSQL.

Tests of stores take ``engine`` or ``database_url``; tests of running services take ``stack``,
or ``new_database`` for a service of their own. Each runs once per backend.
``FACELINE_TEST_DATABASE=postgresql make test`` runs the whole suite on one backend. A test
marked ``ONE_DATABASE`` runs on one, because it does not depend on the database, or because it
takes long and other tests cover the same statements on both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import METADATA
from tests.servers import PostgresServer

BACKENDS = tuple(os.environ.get("FACELINE_TEST_DATABASE", "sqlite,postgresql").split(","))

ONE_DATABASE = pytest.mark.parametrize("backend", BACKENDS[:1], indirect=True, scope="session")

# The same for tests of stores, which take ``engine``.
ONE_ENGINE = pytest.mark.parametrize("database_url", BACKENDS[:1], indirect=True)

# For a long test with a similar one on the first database.
LAST_DATABASE = pytest.mark.parametrize("backend", BACKENDS[-1:], indirect=True, scope="session")


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The database of running services; shared services run on one database at a time."""
    return str(request.param)


@contextlib.contextmanager
def open_database(request: pytest.FixtureRequest, backend: str) -> Iterator[dict[str, object]]:
    """An empty database of a service, as its settings."""
    if backend == "sqlite":
        yield {}
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database() as url:
        yield {"database_url": url}


@pytest.fixture
def new_database(request: pytest.FixtureRequest, backend: str) -> Iterator[dict[str, object]]:
    """Settings of a service of this test's own: its database."""
    with open_database(request, backend) as settings:
        yield settings


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for each backend."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def bare_engine(empty_url: str) -> Iterator[Engine]:
    """An engine on an empty database, without fsync."""
    engine = open_engine(empty_url, durable=False)
    yield engine
    engine.dispose()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database with all tables, once for each backend."""
    if request.param == "sqlite":
        path = tmp_path / "faceline.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url = str(request.getfixturevalue("migrated_url"))
    _empty(url)
    return url


@pytest.fixture
def sqlite(tmp_path: Path, migrated_file: Path) -> Iterator[Engine]:
    """The same on SQLite alone, for tests of SQLite's own behaviour."""
    path = tmp_path / "sqlite.db"
    shutil.copy(migrated_file, path)
    engine = open_engine(f"sqlite:///{path}", durable=False)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database with all tables, without fsync."""
    engine = open_engine(database_url, durable=False)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with all tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "faceline.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with all tables, to be emptied: making one for each test
    would take half a second."""
    with postgres_server.database() as url:
        _migrate(url)
        yield url


def _empty(url: str) -> None:
    engine = open_engine(url, durable=False)
    with writing(engine) as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


def _migrate(url: str) -> None:
    engine = open_engine(url, durable=False)
    migrate.upgrade(engine)
    engine.dispose()
