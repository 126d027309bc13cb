"""Views of galleries for the tests of the index: their clock, store and fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.index.base import Hit
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.media.directory import DirectoryStore
from pipeline.storage_keys import snapshots_prefix
from tests.index_source import TENANT, FileGallery

OPTIONS = ViewOptions(
    engine_choice=EngineChoice(exact_limit=1000, short_list=200),
    snapshot_changes=100,
    purge_after_s=100.0,
    canary_every=0,
)


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gallery(tmp_path: Path) -> FileGallery:
    return FileGallery(tmp_path / "gallery.db")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "media")


MakeView = Callable[..., TenantView]


@pytest.fixture
def make_view(gallery: FileGallery, store: DirectoryStore, clock: Clock) -> MakeView:
    def make(options: ViewOptions = OPTIONS) -> TenantView:
        view = TenantView(TENANT, gallery, store, options, clock)
        view.open()
        return view

    return make


def labels_of(found: list[list[Hit]]) -> list[list[int]]:
    return [[hit.label for hit in hits] for hits in found]


def stored(store: DirectoryStore) -> int:
    return len(list(store.walk(snapshots_prefix(TENANT))))


def holds(store: DirectoryStore, secret: bytes) -> bool:
    """Whether some object of a snapshot holds these bytes."""
    return any(secret in store.get(each.key) for each in store.walk(""))
