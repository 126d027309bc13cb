"""Galleries of made-up faces, written straight into SQL: tens of thousands in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, insert, update

from pipeline.database.engine import writing
from pipeline.database.schema import changes, faces, images, tenants, vectors
from pipeline.storage_keys import face_media
from pipeline.types import VectorModel

BLOCK = 2000  # rows in one statement

Rows = list[dict[str, Any]]


def fill_gallery(
    engine: Engine, tenant: int, count: int, model: VectorModel, first: int = 1,
    units: NDArray[np.float32] | None = None,
) -> None:
    """``count`` faces with their change log into the empty gallery of ``tenant``, each on
    a picture of its own that no photo has; ids and labels count up from ``first``. ``units`` are
    their vectors, random ones where none are given."""
    with writing(engine) as connection:
        for start in range(0, count, BLOCK):
            numbers = range(start + 1, min(start + BLOCK, count) + 1)
            made = synthetic_rows(tenant, numbers, model, first, units)
            for table, rows in zip((images, faces, vectors, changes), made, strict=True):
                connection.execute(insert(table), rows)
        connection.execute(
            update(tenants).where(tenants.c.id == tenant).values(log_number=count)
        )


def synthetic_rows(
    tenant: int, numbers: range, model: VectorModel, first: int,
    units: NDArray[np.float32] | None = None,
) -> Iterator[Rows]:
    """Of images, faces, vectors and changes: the faces with these numbers in the log."""
    common = {"tenant_id": tenant, "created_at": 0.0}
    ids = [first - 1 + number for number in numbers]
    if units is None:
        drawn = np.random.default_rng(numbers.start).standard_normal((len(ids), model.dimension))
        mine = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f4")
    else:
        mine = units[numbers.start - 1 : numbers.stop - 1].astype("<f4")
    yield [
        {**common, "id": n, "image_id": f"i{n}", "sha256": f"{n:064}", "media_key": f"k{n}",
         "size": 1, "width": 1, "height": 1, "format": "JPEG", "description": ""}
        for n in ids
    ]
    yield [
        {**common, "id": n, "image_ref": n, "person_id": f"p{n}", "face_token": f"t{n}",
         "name": f"made up {n}", "gender": "", "box": [1, 1, 9, 9], "landmarks": [], "score": 1.0,
         "quality": {}, "face_key": face_media(tenant, "made", n, "cut")}
        for n in ids
    ]
    yield [
        {**common, "label": n, "face_id": n, "pack": model.pack, "model_sha256": model.sha256,
         "dimension": model.dimension, "vector": unit.tobytes()}
        for n, unit in zip(ids, mine, strict=True)
    ]
    yield [
        {"tenant_id": tenant, "number": number, "label": label}
        for number, label in zip(numbers, ids, strict=True)
    ]
