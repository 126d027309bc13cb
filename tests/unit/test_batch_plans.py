"""No step of a batch reads all of it: its millionth item costs no more than the first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pipeline.gallery.orphan_sweep import OrphanSweep
from pipeline.media.directory import DirectoryStore
from tests.batch_harness import BatchHarness, Listed, picture, words
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, Queue, add_tenant
from tests.query_plans import watch

# A whole table, or all items of a batch.
READS_ALL = (
    r"SCAN (batch_items|jobs|images|faces|vectors|discarded|refused_pictures)"
    r"|SEARCH batch_items .*\(batch_id=\?\)"
)


def test_no_step_reads_a_whole_batch(sqlite: Engine, tmp_path: Path) -> None:
    media, clock = DirectoryStore(tmp_path / "media"), Clock()
    gallery = TenantGallery(sqlite, add_tenant(sqlite, "tenant"), media, clock)
    harness = BatchHarness(gallery, Queue(sqlite, gallery.tenant, clock))
    source = Listed([*words("a", "b", "c"), ("copy", picture("a")), ("text", b"text")])
    seen, found = watch(sqlite, READS_ALL, ("SELECT", "UPDATE", "DELETE"))

    batch = harness.read(source)
    harness.work(unfit=["b"])
    source.entries += words("d", "e")
    submitter = harness.submitter()
    submitter.criteria = "pack"
    submitter.run(batch, source)
    harness.store.items(batch.id, after=2)
    harness.work()
    harness.store.retry(None, batch.id, reasons=["no_face"])
    harness.read(source)
    face = harness.items(batch)[0].face_id
    assert face is not None
    gallery.faces.delete(gallery.tenant, face)
    OrphanSweep(sqlite, media).run(gallery.tenant)
    harness.store.cancel(None, batch.id, harness.queue)

    assert len(seen) > 50
    assert found == {}
