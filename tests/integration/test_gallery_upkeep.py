"""What upkeep does for galleries: nothing that was deleted stays in a store."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine

from pipeline import keys
from pipeline.config import Settings
from pipeline.database.engine import writing
from pipeline.gallery.keep import keep_image
from pipeline.gallery.sweep import GRACE_S
from pipeline.index.options import ViewOptions
from pipeline.index.view import TenantView
from tests.gallery_factory import Shelf
from tests.job_factory import Clock
from workers.upkeep.galleries import GalleryKeeping


@pytest.fixture
def keeping(engine: Engine, shelf: Shelf, clock: Clock) -> GalleryKeeping:
    return GalleryKeeping(Settings(purge_after_s=600.0), engine, shelf.media, clock)


def test_the_trash_is_emptied(shelf: Shelf, keeping: GalleryKeeping) -> None:
    shelf.add("one")
    shelf.add("one")  # its objects are put aside, not deleted: the job has its answer
    assert len(shelf.waiting()) == 2
    keeping.empty_trash()
    assert shelf.waiting() == set()
    assert shelf.objects() == shelf.named()


def test_objects_of_lost_enrolments_go(
    shelf: Shelf, keeping: GalleryKeeping, clock: Clock
) -> None:
    shelf.prepare("lost")
    keeping.sweep()
    assert len(shelf.objects()) == 2, "its job may still be running"
    clock.now += 10 * 365 * 24 * GRACE_S  # objects carry the time of the machine
    keeping.sweep()
    assert shelf.objects() == set()


def test_pictures_that_were_stored_for_a_while_go(
    shelf: Shelf, keeping: GalleryKeeping, clock: Clock
) -> None:
    picture = shelf.prepare("passing", 0).image
    with writing(shelf.engine) as connection:
        keep_image(connection, shelf.tenant, picture, clock() + 10, clock())
    keeping.expire_images()
    assert shelf.objects() == {picture.media_key}
    clock.now += 10
    keeping.expire_images()
    assert shelf.objects() == shelf.named() == set()


def test_missing_pictures_are_told(
    shelf: Shelf, keeping: GalleryKeeping, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    face = shelf.add("one")
    shelf.media.delete(face.face_key)
    clock.now += 2 * GRACE_S
    with caplog.at_level(logging.ERROR):
        keeping.sweep()
    (record,) = [record for record in caplog.records if "missing" in record.message]
    assert record.__dict__["first"] == face.face_key


def test_snapshots_with_deleted_faces_go_in_time(
    shelf: Shelf, keeping: GalleryKeeping, clock: Clock
) -> None:
    """No index process has the gallery open."""
    kept = shelf.add("stays")
    gone = shelf.add("goes")
    view = TenantView(shelf.tenant, shelf.log, shelf.media, ViewOptions(), clock)
    view.open()
    assert view.snapshot() is not None

    clock.now += 700
    keeping.purge_snapshots()
    assert len(shelf.log.snapshots(shelf.tenant)) == 1, "nothing in it was deleted"
    shelf.faces.delete(shelf.tenant, gone.id)
    keeping.purge_snapshots()
    assert shelf.log.snapshots(shelf.tenant) == []
    assert list(shelf.media.walk(keys.snapshots_prefix(shelf.tenant))) == []

    view.open()
    assert view.labels().tolist() == [shelf.label(kept)]
