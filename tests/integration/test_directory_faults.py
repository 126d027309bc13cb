"""A media directory that cannot be used: a retryable error, and nothing half there."""

from __future__ import annotations

import hashlib
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import MediaNotFound, MediaUnavailable
from pipeline.media.directory import INCOMING, DirectoryStore

DATA = bytes(100_000)
KEY = f"t1/x/{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond 10 kB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing(tmp_path: Path, full_disk: None) -> None:
    store = DirectoryStore(tmp_path)
    with pytest.raises(MediaUnavailable) as caught:
        store.put(KEY, DATA)
    assert caught.value.retryable
    assert not store.exists(KEY)
    assert list((tmp_path / INCOMING).iterdir()) == []


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("in the way")
    store = DirectoryStore(tmp_path / "media")
    with pytest.raises(MediaUnavailable):
        store.put(KEY, DATA)
    with pytest.raises(MediaUnavailable):
        store.ping()


def test_a_disk_that_is_not_mounted_is_not_an_empty_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "disk" / "media")
    store.put(KEY, DATA)
    shutil.rmtree(tmp_path / "disk")
    with pytest.raises(MediaUnavailable):
        store.get(KEY)
    with pytest.raises(MediaUnavailable):
        store.exists(KEY)


def test_a_directory_under_a_key_is_no_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(KEY, DATA)
    with pytest.raises(MediaNotFound):
        store.get("t1/x")
    with pytest.raises(MediaNotFound):
        store.get(f"{KEY}/below")
    assert not store.exists("t1/x")


def test_a_symbolic_link_is_not_walked_into(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    store = DirectoryStore(tmp_path / "media")
    store.put(KEY, DATA)
    (tmp_path / "media" / "t1" / "link").symlink_to(outside)
    assert [item.key for item in store.walk("t1/x/")] == [KEY]
    assert not any("secret" in item.key for item in store.walk(""))
