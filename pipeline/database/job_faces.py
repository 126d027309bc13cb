"""Which faces of the gallery the jobs that have ended speak of, so that what they say goes
when the face does.

Noted in the transaction that ends a job, for the keys that ``operations`` documents;
forgotten in the one that deletes the face. Either waits for the other on the face's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from pipeline.database.schema import faces, job_faces, jobs
from pipeline.errors import FaceNotFound

# Results of searches that are read and written again at a time.
BLOCK = 500

_PRESENT = (
    select(faces.c.id)
    .where(faces.c.id.in_(bindparam("ids", expanding=True)))
    # In one order, so that two that wait do not wait for each other.
    .order_by(faces.c.id).with_for_update(read=True, key_share=True)
)
_INSERT = insert(job_faces)


def faces_named(params: Mapping[str, Any], result: Mapping[str, Any] | None) -> set[int]:
    """The ids of the faces that a job was asked about, and of those in its answer."""
    said = [params, {} if result is None else result]
    ids = {part["face_id"] for part in said if "face_id" in part}
    for part in said[1:]:
        listed = [*part.get("faces", ()), *part.get("hits", ())]
        ids.update(face["id"] for face in (*listed, part.get("face")) if face is not None)
    return ids


def record_job_faces(
    connection: Connection, seq: int, params: Mapping[str, Any],
    result: Mapping[str, Any] | None, now: float,
) -> None:
    """Remember of whom a job speaks that ends in this transaction. When one of them has
    been deleted since it began, what it says goes at once."""
    ids = faces_named(params, result)
    if not ids:
        return
    there = list(connection.execute(_PRESENT, {"ids": sorted(ids)}).scalars())
    if there:
        connection.execute(_INSERT, [{"face_id": face, "job_seq": seq} for face in there])
    if len(there) < len(ids):
        _erase(connection, jobs.c.seq == seq, now)


def erase_results_about(connection: Connection, face_ids: Sequence[int], now: float) -> None:
    """Erase what ended jobs say of faces that this transaction deletes and has locked.

    A job that was about a face keeps neither parameters nor result: it is answered as if
    the face had not been there. So is a search that found the face first, whose picture
    was most likely of that person; other searches lose the hit.
    """
    of_them = select(job_faces.c.job_seq).where(job_faces.c.face_id.in_(face_ids))
    search = jobs.c.operation == "search"
    _erase(connection, jobs.c.seq.in_(of_them) & ~search, now)
    searches = connection.execute(
        select(jobs.c.seq).where(jobs.c.seq.in_(of_them), search).order_by(jobs.c.seq)
    ).scalars().all()
    gone = set(face_ids)
    for start in range(0, len(searches), BLOCK):
        _take_out(connection, searches[start : start + BLOCK], gone, now)
    # Last: whoever removes a job has it before he has its mentions.
    connection.execute(delete(job_faces).where(job_faces.c.face_id.in_(face_ids)))


def clear_job_faces(connection: Connection, seq: int) -> None:
    """Of a job that begins anew."""
    connection.execute(delete(job_faces).where(job_faces.c.job_seq == seq))


def _take_out(connection: Connection, seqs: Sequence[int], gone: set[int], now: float) -> None:
    rows = connection.execute(select(jobs.c.seq, jobs.c.result).where(jobs.c.seq.in_(seqs)))
    whole = []
    for seq, result in rows.all():
        hits = (result or {}).get("hits", [])
        if not hits or hits[0]["id"] in gone:
            whole.append(seq)
            continue
        left = [hit for hit in hits if hit["id"] not in gone]
        connection.execute(
            update(jobs).where(jobs.c.seq == seq).values(result={**result, "hits": left})
        )
    _erase(connection, jobs.c.seq.in_(whole), now)


def _erase(connection: Connection, chosen: ColumnElement[bool], now: float) -> None:
    error = FaceNotFound()
    done = jobs.c.state == "done"
    connection.execute(
        update(jobs).where(chosen, done).values(
            media=[], result=None, error_code=error.code,
            error={"code": error.code, "message": error.message, "picture": None},
        )
    )
    connection.execute(update(jobs).where(chosen).values(params={}, erased_at=now))
