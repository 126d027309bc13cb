"""Faces of a gallery drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from pipeline.database.engine import read_rows, read_values
from pipeline.database.keyset import blocks
from pipeline.database.schema import faces, vectors
from pipeline.encryption.data_key import KeySource
from pipeline.gallery.rows import read_vector
from pipeline.types import VectorModel

IDS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True, eq=False)
class SampledFaces:
    """``vectors`` have shape (count, dimension), float32, unit length; ``names`` are the faces'
    own. ``of`` counts the faces that they were drawn from."""

    vectors: NDArray[np.float32]
    names: list[str]
    of: int


def sample_faces(
    engine: Engine, keys: KeySource, tenant_id: int, model: VectorModel, most: int, seed: int = 0
) -> SampledFaces:
    """At most ``most`` of the faces that ``model`` has embedded. Raises
    ``DatabaseUnavailable``, ``DecryptionFailed``."""
    mine = (vectors.c.tenant_id == tenant_id, vectors.c.model_sha256 == model.sha256)
    ids = read_values(engine, select(vectors.c.face_id).where(*mine).order_by(vectors.c.label))
    chosen = np.random.default_rng(seed).permutation(len(ids))[:most]
    key = keys.data_key(tenant_id)
    rows: list[NDArray[np.float32]] = []
    names: list[str] = []
    for some in blocks(sorted(ids[place] for place in chosen), IDS_PER_STATEMENT):
        named = select(faces.c.id, faces.c.name).where(faces.c.id.in_(some))
        name_of = {row.id: row.name for row in read_rows(engine, named)}
        stored = select(vectors.c.face_id, vectors.c.dimension, vectors.c.vector)
        for row in read_rows(engine, stored.where(vectors.c.face_id.in_(some))):
            if row.face_id in name_of:
                rows.append(read_vector(row.vector, row.face_id, row.dimension, key))
                names.append(name_of[row.face_id])
    return SampledFaces(
        np.array(rows, np.float32).reshape(len(rows), model.dimension), names, len(ids)
    )
