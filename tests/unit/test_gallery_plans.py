"""No operation on a gallery reads a table from end to end: the ten-thousandth enrolment
costs what the first did."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pipeline.database.engine import writing
from pipeline.gallery.faces import by_labels
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.groups import Deletion
from pipeline.gallery.sweep import Sweep
from pipeline.media.directory import DirectoryStore
from tests.gallery_factory import Shelf
from tests.job_factory import Clock, add_tenant
from tests.query_plans import watch

WHOLE_TABLE = "^SCAN (images|faces|vectors|bindings|changes|collections|discarded|jobs)"


def test_nothing_reads_a_whole_table(sqlite: Engine, tmp_path: Path) -> None:
    media = DirectoryStore(tmp_path / "media")
    shelf = Shelf(sqlite, add_tenant(sqlite, "tenant"), media, Clock())
    seen, scans = watch(sqlite, WHOLE_TABLE)

    use(shelf)
    galleries = GalleryStore(sqlite, media)
    galleries.stats(shelf.tenant)
    assert list(galleries.export(shelf.tenant))
    assert list(galleries.bare_images(shelf.tenant))
    Sweep(sqlite, media).round(shelf.tenant)
    galleries.clear(shelf.tenant)

    assert len(seen) > 70
    assert scans == {}


def use(shelf: Shelf) -> None:
    """Once around everything that a dialect does."""
    tenant = shelf.tenant
    shelf.groups.create(tenant, "staff", "Staff")
    ann = shelf.add("ann", name=None, collections=("staff", "default"))
    party = shelf.enrol("party", 3).faces
    shelf.add("ann", collections=("staff",))
    shelf.enrol("fresh", image_id="mine", fresh=True)
    shelf.replace(ann, "ann later")
    shelf.replace(party[0], "guest")
    shelf.faces.rename(tenant, ann.id, "Ann")
    shelf.faces.delete_token(tenant, party[1].face_token)
    shelf.faces.delete_token(tenant, party[2].face_token)
    shelf.faces.page(tenant, 0, 10)
    shelf.faces.after(tenant, 0, 10)
    shelf.faces.by_person(tenant, ann.person_id)
    with writing(shelf.engine) as connection:
        by_labels(connection, tenant, [1, 2, 3])
    shelf.faces.vector(tenant, ann.id)
    shelf.groups.all(tenant)
    shelf.groups.faces(tenant, "staff", 0, 10)
    shelf.groups.bind(tenant, ann.face_token, ["default"])
    shelf.groups.unbind(tenant, ann.face_token, ["default"])
    shelf.log.changed(tenant, 0, 10)
    shelf.log.entries(tenant, [1, 2])
    assert list(shelf.log.all_entries(tenant))
    shelf.log.vector_model(tenant)
    shelf.log.prune(tenant)
    shelf.groups.delete(tenant, "staff", Deletion.CLEAR)
    shelf.groups.delete(tenant, "staff", Deletion.OWN_FACES)
