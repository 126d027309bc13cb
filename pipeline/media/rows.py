"""A media store that also reads the pictures that wait in the database with their job."""

from __future__ import annotations

from sqlalchemy import Engine, bindparam, select

from pipeline.database.engine import read_values
from pipeline.database.schema import job_pictures, jobs
from pipeline.errors import MediaNotFound
from pipeline.media.base import MediaStore, WrappingStore, check_bytes
from pipeline.storage_keys import is_in_row, row_of

_FIND = (
    select(job_pictures.c.data)
    .join(jobs, jobs.c.seq == job_pictures.c.job_seq)
    .where(jobs.c.id == bindparam("job"), job_pictures.c.position == bindparam("position"))
)


class RowReadingStore(WrappingStore):
    """Only the transaction that accepts a job writes such a picture, and the one that ends the
    job deletes it. ``get`` also raises ``DatabaseUnavailable``."""

    def __init__(self, inner: MediaStore, engine: Engine) -> None:
        super().__init__(inner)
        self._engine = engine

    def get(self, key: str) -> bytes:
        if not is_in_row(key):
            return super().get(key)
        job_id, position = row_of(key)
        found = read_values(self._engine, _FIND, {"job": job_id, "position": position})
        if not found or found[0] is None:
            raise MediaNotFound(f"{key} is not stored")
        return check_bytes(key, bytes(found[0]))
