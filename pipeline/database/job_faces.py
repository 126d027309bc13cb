"""The faces that ended jobs name, so that deleting a face erases their results about it.

Recorded in the transaction that ends a job, for the keys that ``operations`` documents, and
used in the one that deletes the face. Both lock the face's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from pipeline.database.keyset import blocks
from pipeline.database.schema import faces, job_faces, jobs
from pipeline.errors import FaceNotFound

# Results of searches that are read and written again at a time.
BLOCK = 500

_LOCK_FACES = (
    select(faces.c.id)
    .where(faces.c.id.in_(bindparam("ids", expanding=True)))
    # Always in this order, so that two transactions do not deadlock.
    .order_by(faces.c.id).with_for_update(read=True, key_share=True)
)
_INSERT = insert(job_faces)


def faces_named(params: Mapping[str, Any], result: Mapping[str, Any] | None) -> set[int]:
    """The ids of the faces in a job's parameters and in its result."""
    parts = [params, {} if result is None else result]
    ids = {part["face_id"] for part in parts if part.get("face_id") is not None}
    for part in parts[1:]:
        listed = [*part.get("faces", ()), *part.get("hits", ())]
        ids.update(face["id"] for face in (*listed, part.get("face")) if face is not None)
    return ids


def record_job_faces(
    connection: Connection, seq: int, params: Mapping[str, Any],
    result: Mapping[str, Any] | None, now: float,
) -> None:
    """Record the faces of a job that ends in this transaction. When one of them was deleted
    since the job began, the job's result is erased at once."""
    ids = faces_named(params, result)
    if not ids:
        return
    existing = list(connection.execute(_LOCK_FACES, {"ids": sorted(ids)}).scalars())
    if existing:
        connection.execute(_INSERT, [{"face_id": face, "job_seq": seq} for face in existing])
    if len(existing) < len(ids):
        _erase(connection, jobs.c.seq == seq, now)


def erase_results_about(connection: Connection, face_ids: Sequence[int], now: float) -> int:
    """Erase the results of ended jobs about faces that this transaction deletes and has locked;
    returns how many jobs.

    A job about one of the faces loses its parameters and its result, and is answered as if
    the face had not existed. So is a search that found the face first, as its picture most
    likely shows that person. Other searches lose the hit.
    """
    of_them = select(job_faces.c.job_seq).where(job_faces.c.face_id.in_(face_ids))
    search = jobs.c.operation == "search"
    told = connection.execute(
        select(func.count(job_faces.c.job_seq.distinct())).where(job_faces.c.face_id.in_(face_ids))
    ).scalar_one()
    _erase(connection, jobs.c.seq.in_(of_them) & ~search, now)
    searches = connection.execute(
        select(jobs.c.seq).where(jobs.c.seq.in_(of_them), search).order_by(jobs.c.seq)
    ).scalars().all()
    gone = set(face_ids)
    for block in blocks(searches, BLOCK):
        _remove_hits(connection, block, gone, now)
    # Last: a transaction that removes a job locks it before its rows here.
    connection.execute(delete(job_faces).where(job_faces.c.face_id.in_(face_ids)))
    return told


def clear_job_faces(connection: Connection, seq: int) -> None:
    """Forget the faces of a job that starts again."""
    connection.execute(delete(job_faces).where(job_faces.c.job_seq == seq))


def _remove_hits(connection: Connection, seqs: Sequence[int], gone: set[int], now: float) -> None:
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
