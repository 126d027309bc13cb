"""No operation on a gallery reads a table from end to end: the ten-thousandth enrolment
costs no more than the first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pipeline.database.engine import writing
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.faces import faces_by_label
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.orphan_sweep import OrphanSweep
from pipeline.media.directory import DirectoryStore
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, add_tenant
from tests.query_plans import watch

WHOLE_TABLE = "^SCAN (images|faces|vectors|bindings|changes|collections|discarded|jobs)"


def test_nothing_reads_a_whole_table(sqlite: Engine, tmp_path: Path) -> None:
    media = DirectoryStore(tmp_path / "media")
    gallery = TenantGallery(sqlite, add_tenant(sqlite, "tenant"), media, Clock())
    seen, scans = watch(sqlite, WHOLE_TABLE)

    use(gallery)
    galleries = GalleryStore(sqlite, media)
    galleries.stats(gallery.tenant)
    assert list(galleries.export(gallery.tenant))
    assert list(galleries.faceless_images(gallery.tenant))
    OrphanSweep(sqlite, media).run(gallery.tenant)
    galleries.clear(gallery.tenant)

    assert len(seen) > 70
    assert scans == {}


def use(gallery: TenantGallery) -> None:
    """Once around everything that a dialect does."""
    tenant = gallery.tenant
    gallery.groups.create(tenant, "staff", "Staff")
    ann = gallery.add("ann", name=None, collections=("staff", "default"))
    party = gallery.enrol("party", 3).faces
    gallery.add("ann", collections=("staff",))
    gallery.enrol("fresh", image_id="mine", fresh=True)
    gallery.replace(ann, "ann later")
    gallery.replace(party[0], "guest")
    gallery.faces.rename(tenant, ann.id, "Ann")
    gallery.faces.delete_token(tenant, party[1].face_token)
    gallery.faces.delete_token(tenant, party[2].face_token)
    gallery.faces.page(tenant, 0, 10)
    gallery.faces.after(tenant, 0, 10)
    gallery.faces.by_person(tenant, ann.person_id)
    with writing(gallery.engine) as connection:
        faces_by_label(connection, tenant, [1, 2, 3])
    gallery.faces.vector(tenant, ann.id)
    gallery.groups.all(tenant)
    gallery.groups.faces(tenant, "staff", 0, 10)
    gallery.groups.bind(tenant, ann.face_token, ["default"])
    gallery.groups.unbind(tenant, ann.face_token, ["default"])
    gallery.log.changed(tenant, 0, 10)
    gallery.log.entries(tenant, [1, 2])
    assert list(gallery.log.all_entries(tenant))
    gallery.log.vector_model(tenant)
    gallery.log.prune(tenant)
    gallery.groups.delete(tenant, "staff", CollectionDeletion.CONTENT_ONLY)
    gallery.groups.delete(tenant, "staff", CollectionDeletion.WITH_EXCLUSIVE_FACES)
