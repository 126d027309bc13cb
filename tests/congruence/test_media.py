"""One suite over every media store: a directory and a real S3 server."""

from __future__ import annotations

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, InvalidParameter, MediaCorrupt, MediaNotFound
from pipeline.media import minio
from pipeline.media.base import MediaStore, check_bytes
from pipeline.media.directory import DirectoryStore
from pipeline.media.open import open_media
from pipeline.media.rereading import RereadingStore
from pipeline.storage_keys import transient_media, transient_prefix
from tests.servers import MinioServer

HOUR_S = 3600.0


@pytest.fixture(params=["directory", "minio"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    """An empty store."""
    if request.param == "directory":
        return open_media(Settings(media_url=f"file://{tmp_path / 'media'}"))
    server: MinioServer = request.getfixturevalue("shared_minio")
    return open_media(minio_settings(server))


def minio_settings(server: MinioServer) -> Settings:
    """Settings for a fresh bucket of a server."""
    return Settings.model_validate(server.settings(server.bucket(f"test-{uuid.uuid4().hex}")))


def key_of(data: bytes, folder: str = "t1/x") -> str:
    return f"{folder}/{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("size", [0, 1, 100_000, 6_000_000])
def test_what_was_put_is_got(store: MediaStore, size: int) -> None:
    data = os.urandom(size)
    key = key_of(data)
    assert not store.exists(key)
    store.put(key, data)
    assert store.exists(key)
    assert store.get(key) == data


def test_put_twice_is_harmless(store: MediaStore) -> None:
    key = key_of(b"data")
    store.put(key, b"data")
    store.put(key, b"data")
    assert store.get(key) == b"data"
    assert len(list(store.walk(""))) == 1


def test_many_at_once(store: MediaStore) -> None:
    """Small objects, large ones, one twice, an empty one."""
    datas = [b"", *(os.urandom(size) for size in (1, 20_000, 65_536, 65_537, 3_000_000))] * 2
    datas += [os.urandom(90_000) for _ in range(3)] + [os.urandom(500) for _ in range(100)]
    pairs = [(key_of(data, f"t1/images/{number}"), data) for number, data in enumerate(datas)]
    store.put_many(pairs)
    store.put_many(pairs[:1])
    store.put_many([])
    assert [store.get(key) for key, _ in pairs] == datas
    assert [item.key for item in store.walk("")] == sorted(key for key, _ in pairs)


def test_a_store_that_does_not_unpack(
    shared_minio: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its header MinIO keeps a bundle as it is, as other servers do."""
    monkeypatch.setattr(minio, "UNPACK_HEADER", {})
    store = open_media(minio_settings(shared_minio))
    for _ in range(2):
        pairs = [(key_of(data, "t1/images/x"), data) for data in map(os.urandom, (10, 20, 30))]
        store.put_many(pairs)
        assert [store.get(key) for key, _ in pairs] == [data for _, data in pairs]
    assert len(list(store.walk(""))) == 6


def test_no_key_of_many_can_lead_out(store: MediaStore) -> None:
    with pytest.raises(InvalidParameter):
        store.put_many([(key_of(b"a", "t1/images/a"), b"a"), ("t1/../../x", b"b")])
    assert list(store.walk("")) == []


def test_what_is_not_there(store: MediaStore) -> None:
    key = key_of(b"data")
    store.ping()
    with pytest.raises(MediaNotFound):
        store.get(key)
    assert not store.exists(key)
    store.delete(key)
    assert list(store.walk("")) == []


def test_a_store_that_was_never_used_is_empty(store: MediaStore) -> None:
    assert list(store.walk("t1/")) == []
    assert not store.exists(key_of(b""))
    with pytest.raises(MediaNotFound):
        store.get(key_of(b""))
    store.delete(key_of(b""))


def test_delete_removes(store: MediaStore) -> None:
    key, other = key_of(b"one"), key_of(b"two")
    store.put(key, b"one")
    store.put(other, b"two")
    store.delete(key)
    assert not store.exists(key)
    assert store.get(other) == b"two"
    store.put(key, b"one")
    assert store.get(key) == b"one"


def test_other_bytes_than_the_key_says_are_refused(store: MediaStore) -> None:
    key = key_of(b"one")
    store.put(key, b"other")
    with pytest.raises(MediaCorrupt):
        store.get(key)
    store.put(key, b"one")
    assert store.get(key) == b"one"


def test_an_object_that_comes_damaged_is_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, good = key_of(b"one"), [False, False, True, False, True]

    class Spoiling(DirectoryStore):
        def get(self, key: str) -> bytes:
            data = super().get(key)
            return check_bytes(key, data if good.pop(0) else data[:-1])

    store = RereadingStore(Spoiling(tmp_path))
    store.put(key, b"one")
    assert store.get(key) == b"one"
    assert [vars(each)["action"] for each in caplog.records] == ["object_damaged"] * 2
    assert store.get(key) == b"one"
    assert good == []


def test_walk_lists_in_order_of_key(store: MediaStore) -> None:
    names = ["t1/a/1", "t1/a-b/1", "t1/a.b/1", "t1/a/0/x", "t1/ab/1", "t10/a/1", "t2/a/1", "top"]
    for name in names:
        store.put(name, name.encode())
    found = list(store.walk(""))
    assert [item.key for item in found] == sorted(names)
    assert [item.size for item in found] == [len(name) for name in sorted(names)]
    assert all(item.modified > 1e9 for item in found)
    for prefix in ("t1/", "t1/a", "t1/a/", "t1", "t", "t1/a/0/x", "nothing/", "t1/a/0/x/"):
        expected = [name for name in sorted(names) if name.startswith(prefix)]
        assert [item.key for item in store.walk(prefix)] == expected, prefix


def test_walk_passes_over_pages(store: MediaStore) -> None:
    """S3 answers with at most 1,000 keys at a time."""
    names = [f"t1/{number:04}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.put, names, [b""] * len(names)))
    assert [item.key for item in store.walk("t1/")] == names


def test_what_is_walked_over_may_be_deleted(store: MediaStore) -> None:
    for hour in range(5):
        data = bytes([hour])
        store.put(transient_media(1, "owner", store.name(1, data), hour * HOUR_S), data)
    for item in store.walk(transient_prefix(1)):
        store.delete(item.key)
    assert list(store.walk("")) == []


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "../x", "a/../x", "a/..", "a//b", "a/", "a/.hidden", ".", "a b",
     "a\x00b", "ä", "a\\b", "a" * 600, "a/\ud800", "C:x"],
)
def test_a_key_cannot_lead_out(store: MediaStore, key: str) -> None:
    for work in (store.get, store.exists, store.delete):
        with pytest.raises(InvalidParameter):
            work(key)
    with pytest.raises(InvalidParameter):
        store.put(key, b"")


def test_many_threads_share_a_store(store: MediaStore) -> None:
    pictures = [os.urandom(20_000) for _ in range(40)]

    def there_and_back(data: bytes) -> bool:
        store.put(key_of(data), data)
        return store.get(key_of(data)) == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, pictures))


def test_putting_and_pruning_at_once(store: MediaStore) -> None:
    """A directory that a delete empties may be the one that a put is about to use."""
    keys = [key_of(bytes([number]), "t1/same/place") for number in range(8)]

    def over_and_over(number: int) -> None:
        for _ in range(30):
            store.put(keys[number], bytes([number]))
            store.delete(keys[number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(over_and_over, range(8)))
    assert list(store.walk("")) == []


@pytest.mark.parametrize(
    "url",
    ["", "x", "file://relative", "http://127.0.0.1/b", "s3://", "s3+http://127.0.0.1",
     "s3+http://127.0.0.1/b/prefix", "s3://UPPER_CASE", "s3+http:///bucket"],
)
def test_a_location_that_is_none_is_refused(url: str) -> None:
    settings = Settings(media_url=url or "s3+http://")
    with pytest.raises(ConfigurationError, match="FACELINE_MEDIA_URL"):
        open_media(settings)
