"""Invariants of a gallery after any fault."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from pipeline import storage_keys
from pipeline.database.engine import reading
from pipeline.database.schema import changes, discarded, faces, images, refused_pictures, vectors
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.gallery.trash import Trash
from tests.cluster import Cluster


def check_one_record_each(cluster: Cluster, enrolled: set[str]) -> None:
    """Each picture (``enrolled`` are their hashes) has one row of every kind; the sweep
    deletes leftovers of killed workers, and nothing else."""
    Trash(cluster.engine, cluster.media).empty()
    with reading(cluster.engine) as connection:
        shas = list(connection.execute(select(images.c.sha256)).scalars())
        named = {
            *connection.execute(select(images.c.media_key)).scalars(),
            *connection.execute(select(faces.c.face_key)).scalars(),
            *connection.execute(select(refused_pictures.c.media_key)).scalars(),
        }
        numbers = list(connection.execute(select(changes.c.number)).scalars())
        counts = [
            len(connection.execute(select(column)).all())
            for column in (faces.c.id, vectors.c.label)
        ]
        assert connection.execute(select(discarded)).all() == []
    assert Counter(shas) == Counter(enrolled)
    assert counts == [len(shas), len(shas)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "the log has a gap"

    def kept() -> set[str]:
        found = {
            item.key for item in cluster.media.walk(storage_keys.tenant_prefix(cluster.tenant))
        }
        return {
            key
            for key in found
            if not key.startswith(storage_keys.transient_prefix(cluster.tenant))
        }

    assert kept() >= named
    later = OrphanSweep(cluster.engine, cluster.media, lambda: 2 * GRACE_S + 10**12)
    assert later.run(cluster.tenant).missing == ()
    assert kept() == named
