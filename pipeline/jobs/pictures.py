"""Pictures that wait in the database for the end of their job: small ones with their bytes,
and the keys of those to be enrolled. They change in the transactions that
accept and end the job, so that neither can be there without the other."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, select

from pipeline.database.schema import discarded, job_pictures, jobs
from pipeline.errors import BadInput, Conflict, NotFound
from pipeline.jobs.model import Job, WaitingPicture
from pipeline.operations import KEEPING
from pipeline.storage_keys import is_in_row, is_upload

PICTURE_ERRORS = (BadInput, Conflict, NotFound)
"""Errors that a repetition of the job would meet again: its pictures are deleted with it."""

_INSERT = insert(job_pictures)
_DELETE = delete(job_pictures).where(job_pictures.c.job_seq == bindparam("job"))
_COUNT = select(func.count()).where(job_pictures.c.job_seq == bindparam("job"))


def waiting(job: Job) -> int:
    """How many pictures of a job wait in the database until it ends."""
    keeps = job.operation in KEEPING
    return sum(is_in_row(key) or (keeps and not is_upload(key)) for key in job.media)


def deletes_objects(job: Job) -> bool:
    """Whether the end of a job is followed by the deletion of objects from the media store."""
    return any(key and not is_in_row(key) for key in job.media)


def store_pictures(
    connection: Connection, seq: int, pictures: Sequence[WaitingPicture]
) -> None:
    """Record the pictures of a job that is being accepted."""
    if pictures:
        connection.execute(
            _INSERT,
            [
                {"job_seq": seq, "position": each.position, "data": each.data,
                 "media_key": each.key}
                for each in pictures
            ],
        )


def forget_pictures(connection: Connection, job: Job) -> None:
    """Delete the rows of a job whose effect has used its pictures."""
    if waiting(job):
        connection.execute(_DELETE, {"job": job.seq})


def drop_pictures(connection: Connection, seqs: Sequence[int], now: float) -> None:
    """Delete the pictures of jobs that have ended and will not use them, objects included."""
    theirs = job_pictures.c.job_seq.in_(seqs)
    objects = (
        select(job_pictures.c.media_key, jobs.c.tenant_id, literal(now))
        .join(jobs, jobs.c.seq == job_pictures.c.job_seq)
        .where(theirs, job_pictures.c.media_key.is_not(None))
    )
    connection.execute(
        insert(discarded).from_select(["media_key", "tenant_id", "discarded_at"], objects)
    )
    connection.execute(delete(job_pictures).where(theirs))


def are_there(connection: Connection, job: Job) -> bool:
    """Whether the pictures of a job have not been deleted."""
    expected = waiting(job)
    return not expected or connection.execute(_COUNT, {"job": job.seq}).scalar_one() == expected
