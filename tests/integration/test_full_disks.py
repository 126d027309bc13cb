"""Each store on a real disk that is full: its errors say so, a try finds it out before a client
does, and everything goes on when there is room."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.database.write_probe import probe_writes
from pipeline.errors import DatabaseFull, MediaFull, MediaUnavailable
from pipeline.media.base import MediaStore
from pipeline.media.directory import DirectoryStore
from pipeline.media.open import open_media
from tests.servers import MinioServer, PostgresServer
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import eventually

PICTURE = os.urandom(500_000)
KEY = f"t1/x/{hashlib.sha256(PICTURE).hexdigest()}"


@contextmanager
def directory_store(folder: Path) -> Iterator[tuple[DirectoryStore, SmallDisk]]:
    with small_disk(folder / "disk") as disk:
        yield DirectoryStore(disk.path / "media"), disk


@contextmanager
def minio_store(_: Path) -> Iterator[tuple[MediaStore, SmallDisk]]:
    server = MinioServer()
    server.drive.mkdir()
    with small_disk(server.drive, 64) as disk, server:
        settings = Settings.model_validate({
            "media_url": f"{server.url}/full", "media_access_key": server.access_key,
            "media_secret_key": server.secret_key,
        })
        store = open_media(settings)
        store.prepare()
        yield store, disk


@pytest.mark.parametrize("opened", [directory_store, minio_store])
def test_a_full_media_store(
    tmp_path: Path, opened: Callable[[Path], AbstractContextManager[tuple[MediaStore, SmallDisk]]]
) -> None:
    with opened(tmp_path) as (store, disk):
        store.try_write()
        store.put(KEY, PICTURE)
        disk.fill()
        attempts: list[Callable[[], object]] = [
            store.try_write, lambda: store.put(f"{KEY[:-1]}0", PICTURE),
            lambda: store.put_many([(f"{KEY[:-1]}{n}", PICTURE[:1000] * 20) for n in "1234"]),
        ]
        for attempt in attempts:
            with pytest.raises(MediaFull, match="no space left"):
                attempt()
        assert store.get(KEY) == PICTURE
        disk.make_room()
        eventually(lambda: takes_writes(store), "there is room")  # MinIO looks once a second
        assert [found.key for found in store.walk("")] == [KEY]


def takes_writes(store: MediaStore) -> bool:
    try:
        store.try_write()
    except MediaFull:
        return False
    return True


@contextmanager
def sqlite_engine(folder: Path) -> Iterator[tuple[Engine, SmallDisk]]:
    with small_disk(folder / "disk") as disk:
        engine = open_engine(f"sqlite:///{disk.path}/faceline.db")
        yield engine, disk
        engine.dispose()


@contextmanager
def postgres_engine(_: Path) -> Iterator[tuple[Engine, SmallDisk]]:
    server = PostgresServer()
    with small_disk(server.directory, 160) as disk, server:
        engine = open_engine(server.url)
        yield engine, disk
        engine.dispose()


@pytest.mark.parametrize("opened", [sqlite_engine, postgres_engine])
def test_a_full_database(
    tmp_path: Path, opened: Callable[[Path], AbstractContextManager[tuple[Engine, SmallDisk]]]
) -> None:
    with opened(tmp_path) as (engine, disk):
        migrate.upgrade(engine)
        for _ in range(3):  # in the same connection, too
            probe_writes(engine)
        disk.fill()
        with pytest.raises(DatabaseFull, match="no space left"):
            probe_writes(engine)
        with pytest.raises(DatabaseFull, match="no space left"):
            add_large_rows(engine, range(100))
        disk.make_room()
        add_large_rows(engine, [1000])
        probe_writes(engine)


def add_large_rows(engine: Engine, names: Iterable[int]) -> None:
    for name in names:
        settings = {"random": os.urandom(100_000).hex()}
        with writing(engine) as connection:
            connection.execute(
                insert(tenants).values(name=str(name), settings=settings, created_at=1.0)
            )


def test_a_read_only_disk_is_not_usable(tmp_path: Path) -> None:
    with directory_store(tmp_path) as (store, disk):
        store.put(KEY, PICTURE)
        disk.forbid_writing()
        with pytest.raises(MediaUnavailable) as error:
            store.try_write()
        assert not isinstance(error.value, MediaFull)
        assert store.get(KEY) == PICTURE
