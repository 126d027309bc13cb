"""The views of several tenants in one process, over both databases."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from pipeline.accounts.tenants import tenant_ids
from pipeline.errors import IndexBehind, MediaUnavailable
from pipeline.gallery.change_log import ChangeLog
from pipeline.index.local_views import LocalViews
from pipeline.index.options import ViewOptions
from pipeline.media.directory import DirectoryStore
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock, add_tenant
from tests.waiting import eventually


@pytest.fixture
def other(engine: Engine, gallery: TenantGallery) -> TenantGallery:
    return gallery.other(add_tenant(engine, "other"))


@pytest.fixture
def views(gallery: TenantGallery) -> LocalViews:
    return LocalViews(gallery.log, gallery.media, ViewOptions())


def search(views: LocalViews, gallery: TenantGallery, picture: str, **wanted: int) -> list[int]:
    probe = vector_of(f"{picture}-0")
    found = views.search(gallery.tenant, probe, 5, None, wanted.get("at_least", 0))
    return [hit.label for hit in found]


def test_searches_see_what_was_committed_before(views: LocalViews, gallery: TenantGallery) -> None:
    """Also without being told a number, and when the view was open before."""
    assert search(views, gallery, "one") == []
    face = gallery.add("one")
    assert search(views, gallery, "one") == [gallery.label(face)]
    label = gallery.label(face)
    gallery.faces.delete(gallery.tenant, face.id)
    assert label not in search(views, gallery, "one")


def test_a_number_that_the_gallery_does_not_know(
    views: LocalViews, gallery: TenantGallery
) -> None:
    gallery.add("one")
    with pytest.raises(IndexBehind) as error:
        search(views, gallery, "one", at_least=2)
    assert error.value.retryable


def test_tenants_see_their_own(
    views: LocalViews, gallery: TenantGallery, other: TenantGallery
) -> None:
    mine, theirs = gallery.add("one"), other.add("one")
    assert search(views, gallery, "one") == [gallery.label(mine)]
    assert search(views, other, "one") == [other.label(theirs)]


class SlowStore(DirectoryStore):
    """Blocks reads of one tenant's snapshots until ``open`` is set."""

    def __init__(self, store: DirectoryStore, tenant: int) -> None:
        super().__init__(store._root)
        self._prefix = f"t{tenant}/"
        self.open = threading.Event()
        self.waiting = threading.Event()

    def get(self, key: str) -> bytes:
        if key.startswith(self._prefix):
            self.waiting.set()
            assert self.open.wait(30)
        return super().get(key)


def test_tenants_do_not_wait_for_each_other(gallery: TenantGallery, other: TenantGallery) -> None:
    face, there = gallery.add("one"), other.add("one")
    written = LocalViews(gallery.log, gallery.media, ViewOptions()).view(gallery.tenant).snapshot()
    assert written is not None
    store = SlowStore(gallery.media, gallery.tenant)
    views = LocalViews(gallery.log, store, ViewOptions())
    with ThreadPoolExecutor(3) as threads:
        slow = [threads.submit(search, views, gallery, "one") for _ in range(2)]
        assert store.waiting.wait(30)
        assert search(views, other, "one") == [other.label(there)]
        assert not any(each.done() for each in slow)
        store.open.set()
        assert [each.result(30) for each in slow] == [[gallery.label(face)]] * 2


def test_a_search_does_not_wait_long_for_its_gallery(
    gallery: TenantGallery, other: TenantGallery
) -> None:
    """While a gallery is read, searches of others are answered, and its own are put back."""
    face, there = gallery.add("one"), other.add("one")
    written = LocalViews(gallery.log, gallery.media, ViewOptions()).view(gallery.tenant).snapshot()
    assert written is not None
    store = SlowStore(gallery.media, gallery.tenant)
    views = LocalViews(gallery.log, store, ViewOptions(open_wait_s=0.2))
    try:
        for _ in range(2):
            with pytest.raises(IndexBehind):
                search(views, gallery, "one")
            eventually(lambda: other.tenant in views.held or put_back(views, other), "it is read")
            assert search(views, other, "one") == [other.label(there)]
    finally:
        store.open.set()
    eventually(lambda: gallery.tenant in views.held, "the gallery is read")
    assert search(views, gallery, "one") == [gallery.label(face)]


def put_back(views: LocalViews, gallery: TenantGallery) -> bool:
    """Asks for a gallery that may not be read yet; always False."""
    with suppress(IndexBehind):
        search(views, gallery, "one")
    return False


class UnreadableLog(ChangeLog):
    """A gallery that cannot be read while ``broken`` is set."""

    broken = True

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        if self.broken:
            raise MediaUnavailable
        return super().vector_model(tenant_id)


def test_an_error_of_reading_a_gallery_reaches_the_search(
    engine: Engine, gallery: TenantGallery
) -> None:
    gallery.add("one")
    log = UnreadableLog(engine)
    views = LocalViews(log, gallery.media, ViewOptions(open_wait_s=30.0))
    with pytest.raises(MediaUnavailable):
        search(views, gallery, "one")
    log.broken = False
    assert len(search(views, gallery, "one")) == 1


class BrokenLog(ChangeLog):
    """Fails for one tenant, a set number of times."""

    def __init__(self, engine: Engine, tenant: int) -> None:
        super().__init__(engine)
        self._tenant = tenant
        self.left = 0

    def latest(self, tenant_id: int) -> int:
        if tenant_id == self._tenant and self.left:
            self.left -= 1
            raise MediaUnavailable
        return super().latest(tenant_id)


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING):
        yield caplog


def test_a_round_goes_on_after_a_failure(
    engine: Engine, gallery: TenantGallery, other: TenantGallery, caught: pytest.LogCaptureFixture
) -> None:
    log = BrokenLog(engine, gallery.tenant)
    views = LocalViews(log, gallery.media, ViewOptions(snapshot_changes=1))
    for each in (gallery, other):
        each.enrol("crowd", 3)
    log.left = 1
    views.keep(tenant_ids(engine))
    assert [record.count for record in log.snapshots(other.tenant)] == [3]
    assert log.snapshots(gallery.tenant) == []
    assert "could not be maintained" in caught.text

    views.keep(tenant_ids(engine))
    assert [record.count for record in log.snapshots(gallery.tenant)] == [3]


ROOM_FOR_ONE = ViewOptions(memory_bytes=1, snapshot_changes=1, purge_after_s=100.0)


@pytest.fixture
def narrow(gallery: TenantGallery, clock: Clock) -> LocalViews:
    """Views of which one at a time has room."""
    return LocalViews(gallery.log, gallery.media, ROOM_FOR_ONE, clock)


def test_two_galleries_with_room_for_one(
    narrow: LocalViews, gallery: TenantGallery, other: TenantGallery
) -> None:
    """A search sees all changes committed before it, and evicts the other gallery."""
    for number in range(4):
        for each in (gallery, other):
            each.clock.forward(1)
            face, gone = each.add(f"face {number}"), each.add(f"gone {number}")
            label, lost = each.label(face), each.label(gone)
            assert search(narrow, each, f"face {number}")[0] == label
            assert search(narrow, each, f"gone {number}")[0] == lost
            each.faces.delete(each.tenant, gone.id)
            found = search(narrow, each, f"gone {number}")
            assert label in found
            assert lost not in found
            assert narrow.held == {each.tenant}
    narrow.keep([gallery.tenant, other.tenant])
    assert narrow.held == {other.tenant}  # it was searched last
    assert narrow.nbytes > 0


def test_there_is_room_for_all_that_fit(
    gallery: TenantGallery, other: TenantGallery, clock: Clock
) -> None:
    gallery.add("one")
    other.add("one")
    views = LocalViews(gallery.log, gallery.media, ViewOptions(memory_bytes=100_000_000), clock)
    views.keep([gallery.tenant, other.tenant])
    assert views.held == {gallery.tenant, other.tenant}


def test_snapshots_of_who_was_let_go_are_purged(
    narrow: LocalViews, gallery: TenantGallery, other: TenantGallery, clock: Clock
) -> None:
    tenants = [gallery.tenant, other.tenant]
    faces = gallery.enrol("crowd", 3).faces
    narrow.view(gallery.tenant).snapshot()
    other.add("one")
    search(narrow, other, "one")
    gallery.faces.delete(gallery.tenant, faces[0].id)
    narrow.keep(tenants)
    assert [record.count for record in gallery.log.snapshots(gallery.tenant)] == [3]
    clock.forward(51)
    narrow.keep(tenants)
    assert [record.count for record in gallery.log.snapshots(gallery.tenant)] == [2]
    assert narrow.held == {other.tenant}


def test_galleries_that_nobody_searches_get_snapshots(
    narrow: LocalViews, gallery: TenantGallery, other: TenantGallery
) -> None:
    """A later search in one of them loads it quickly."""
    other.add("one")
    search(narrow, other, "one")
    for number, counts in enumerate(([3], [6, 3])):
        gallery.enrol(f"crowd {number}", 3)
        narrow.keep([gallery.tenant, other.tenant])
        assert [record.count for record in gallery.log.snapshots(gallery.tenant)] == counts
        assert narrow.held == {other.tenant}


def test_a_tenant_that_is_gone_is_let_go(
    views: LocalViews, engine: Engine, gallery: TenantGallery
) -> None:
    gallery.add("one")
    before = views.view(gallery.tenant)
    assert views.view(gallery.tenant) is before
    views.keep([])
    assert views.view(gallery.tenant) is not before
