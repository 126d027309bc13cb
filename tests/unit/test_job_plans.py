"""No statement about the pictures that wait goes through the jobs that have ended, which are
many, while few pictures wait."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pipeline.errors import FaceError, NoFace
from pipeline.jobs.model import WaitingPicture
from pipeline.media.directory import DirectoryStore
from pipeline.media.rows import RowReadingStore
from pipeline.storage_keys import image_media, plain_name, row_media
from tests.job_factory import Clock, Queue, add_tenant, new_job
from tests.query_plans import watch

# All jobs, or those that have ended.
TOO_MUCH = "^SCAN jobs|jobs USING .*(finished_at|waiting)|^SCAN discarded"


def test_pictures_are_found_by_their_jobs(sqlite: Engine, tmp_path: Path) -> None:
    clock = Clock()
    queue = Queue(sqlite, add_tenant(sqlite, "tenant"), clock)
    media = RowReadingStore(DirectoryStore(tmp_path), sqlite)
    seen, found = watch(sqlite, TOO_MUCH, ("SELECT", "INSERT INTO d", "DELETE FROM job_pictures"))
    name = plain_name(b"picture")
    for error in (None, NoFace(), FaceError()):
        new = new_job(queue.tenant, operation="enrol")
        keys = (
            row_media(queue.tenant, new.id, 0, name), image_media(queue.tenant, new.id, name)
        )
        waiting = (WaitingPicture(0, data=b"picture"), WaitingPicture(1, key=keys[1]))
        job = queue.add(id=new.id, operation="enrol", media=keys, pictures=waiting)
        assert media.get(keys[0]) == b"picture"
        claim = queue.take(job)
        if error is None:
            assert queue.finish(claim, {}, [], None)
        else:
            assert queue.fail(claim, error, [])
    assert queue.retry(job.id, "decode").id == job.id
    queue.fail(queue.take(queue.see(job)), FaceError(), [])
    clock.forward(100)
    assert queue.upkeep.drop_pictures(10) == 1
    assert len(seen) > 6
    # Which jobs ended so long ago is asked only about those with a picture.
    assert found == {}
