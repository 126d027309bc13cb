"""Upkeep of galleries: nothing that was deleted stays in a store."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine

from pipeline import storage_keys
from pipeline.config.settings import Settings
from pipeline.database.engine import writing
from pipeline.gallery.images import ImageStore, store_temporarily
from pipeline.gallery.orphan_sweep import GRACE_S
from pipeline.gallery.trash import Trash
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from workers.upkeep.galleries import GalleryUpkeep


@pytest.fixture
def keeping(engine: Engine, gallery: TenantGallery, clock: Clock) -> GalleryUpkeep:
    return GalleryUpkeep(Settings(purge_after_s=600.0), engine, gallery.media, clock)


def test_the_trash_is_emptied(gallery: TenantGallery, engine: Engine, clock: Clock) -> None:
    gallery.add("one")
    gallery.add("one")  # its objects are put aside, not deleted: the job has its answer
    assert len(gallery.waiting()) == 2
    Trash(engine, gallery.media, clock).empty()
    assert gallery.waiting() == set()
    assert gallery.objects() == gallery.named()


def test_objects_of_lost_enrolments_go(
    gallery: TenantGallery, keeping: GalleryUpkeep, clock: Clock
) -> None:
    gallery.prepare("lost")
    keeping.sweep()
    assert len(gallery.objects()) == 2, "its job may still be running"
    clock.now += 10 * 365 * 24 * GRACE_S  # objects carry the time of the machine
    keeping.sweep()
    assert gallery.objects() == set()


def test_temporary_images_are_deleted_when_their_lifetime_is_over(
    gallery: TenantGallery, engine: Engine, clock: Clock
) -> None:
    images = ImageStore(engine, gallery.media, clock)
    picture = gallery.prepare("passing", 0).image
    with writing(gallery.engine) as connection:
        store_temporarily(connection, gallery.tenant, picture, clock() + 10, clock())
    images.expire()
    assert gallery.objects() == {picture.media_key}
    clock.now += 10
    images.expire()
    assert gallery.objects() == gallery.named() == set()


def test_missing_pictures_are_told(
    gallery: TenantGallery, keeping: GalleryUpkeep, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    face = gallery.add("one")
    gallery.media.delete(face.face_key)
    clock.now += 2 * GRACE_S
    with caplog.at_level(logging.ERROR):
        keeping.sweep()
    (record,) = [record for record in caplog.records if "missing" in record.message]
    assert record.__dict__["first"] == face.face_key


def test_snapshots_with_deleted_faces_go_in_time(
    gallery: TenantGallery, keeping: GalleryUpkeep, clock: Clock
) -> None:
    """No index process has the gallery open."""
    kept = gallery.add("stays")
    gone = gallery.add("goes")
    view = TenantView(gallery.tenant, gallery.log, gallery.media, ViewOptions(), clock)
    view.open()
    assert view.snapshot() is not None

    clock.now += 700
    keeping.purge_snapshots()
    assert len(gallery.log.snapshots(gallery.tenant)) == 1, "nothing in it was deleted"
    gallery.faces.delete(gallery.tenant, gone.id)
    keeping.purge_snapshots()
    assert gallery.log.snapshots(gallery.tenant) == []
    assert list(gallery.media.walk(storage_keys.snapshots_prefix(gallery.tenant))) == []

    view.open()
    assert view.labels().tolist() == [gallery.label(kept)]
