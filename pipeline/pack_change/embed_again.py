"""The faces of a gallery, embedded again by another pack from their stored pictures.

The picture's faces are detected anew, and each stored face takes the one whose box covers most of
its own. A face that is not found there, such as one whose picture is gone, is looked for in its
cutout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import Engine, Row, select

from pipeline.analysis.engine import AnalysisResources
from pipeline.batches.person_names import comparable_name, is_person_name
from pipeline.database.engine import read_rows
from pipeline.database.keyset import blocks
from pipeline.database.schema import faces, images, vectors
from pipeline.encryption.data_key import KeySource
from pipeline.errors import BadInput, FaceError, MediaCorrupt, MediaNotFound, NoFace
from pipeline.gallery.rows import read_vector
from pipeline.media.base import MediaStore
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect, detect_largest
from pipeline.stages.embed import embed
from pipeline.types import Box, DetectedFace, Embedding, Picture, VectorModel

# Intersection over union of the boxes of two detectors around one face, at least. `edge` and `dlib`
# give 0.48 to 0.73 (11 faces of the test pictures); faces side by side hardly reach it.
SAME_FACE_OVERLAP = 0.3

ROWS = 500  # faces that are read at a time

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class StoredFace:
    """An enrolled face with its picture, its vector and the vector's label. ``picture`` is the
    SHA-256 of the picture's bytes."""

    id: int
    label: int
    person_id: str
    name: str
    box: Box
    picture: str
    media_key: str
    face_key: str
    vector: Embedding = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedAgain:
    """The other pack's vector of a stored face, and whether it comes from the face's ``picture``
    or its ``cutout``. Without a vector ``missing`` is the code of the error that prevents it."""

    face: StoredFace
    vector: Embedding | None
    source: str = ""
    missing: str = ""


def choose_faces(
    engine: Engine, tenant_id: int, model: VectorModel, most: int, seed: int = 0
) -> tuple[list[int], int]:
    """The ids of about ``most`` faces that ``model`` has embedded, in rising order, and how many it
    has. People are drawn at random with all of their faces; a face without a person's name is a
    person. Raises ``DatabaseUnavailable``."""
    named = (
        select(faces.c.id, faces.c.name).join(vectors, vectors.c.face_id == faces.c.id)
        .where(vectors.c.tenant_id == tenant_id, vectors.c.model_sha256 == model.sha256)
        .order_by(faces.c.id)
    )
    people: dict[str | int, list[int]] = {}
    count = 0
    for row in read_rows(engine, named):
        count += 1
        person = comparable_name(row.name) if is_person_name(row.name) else row.id
        people.setdefault(person, []).append(row.id)
    drawn = list(people.values())
    chosen: list[int] = []
    for place in np.random.default_rng(seed).permutation(len(drawn)):
        if len(chosen) >= most:
            break
        chosen += drawn[place]
    return sorted(chosen[:most]), count


def read_faces(
    engine: Engine, keys: KeySource, tenant_id: int, face_ids: Sequence[int]
) -> Iterator[StoredFace]:
    """The faces with these ids that still exist, those of one picture together. Raises
    ``DatabaseUnavailable``, ``DecryptionFailed``."""
    key = keys.data_key(tenant_id)
    columns = (
        faces.c.id, faces.c.person_id, faces.c.name, faces.c.box, faces.c.face_key,
        images.c.sha256, images.c.media_key, vectors.c.dimension, vectors.c.vector,
        vectors.c.label,
    )
    query = (
        select(*columns).join(images, images.c.id == faces.c.image_ref)
        .join(vectors, vectors.c.face_id == faces.c.id)
        .where(faces.c.tenant_id == tenant_id).order_by(faces.c.image_ref, faces.c.id)
    )
    for some in blocks(sorted(face_ids), ROWS):
        for row in read_rows(engine, query.where(faces.c.id.in_(some))):
            yield _stored(row, read_vector(row.vector, row.id, row.dimension, key))


def _stored(row: Row[*tuple[Any, ...]], vector: Embedding) -> StoredFace:
    return StoredFace(
        row.id, row.label, row.person_id, row.name, Box(*row.box), row.sha256, row.media_key,
        row.face_key, vector,
    )


def embed_again(
    stored: Sequence[StoredFace], media: MediaStore, resources: AnalysisResources,
    progress: Progress = lambda _done, _total: None,
) -> list[EmbeddedAgain]:
    """Each face embedded by the pack of ``resources``, in order.

    Raises errors that no picture causes: ``MediaUnavailable``, ``DecoderUnavailable``,
    ``PackError``.
    """
    answers: list[EmbeddedAgain] = []
    for _, group in groupby(stored, key=lambda face: face.media_key):
        answers += _of_picture(list(group), media, resources)
        progress(len(answers), len(stored))
    return answers


def _of_picture(
    stored: Sequence[StoredFace], media: MediaStore, resources: AnalysisResources
) -> list[EmbeddedAgain]:
    """The faces of one picture."""
    picture = _pixels(stored[0].media_key, media, resources)
    if isinstance(picture, FaceError):
        return [_of_cutout(face, picture, media, resources) for face in stored]
    found = detect(picture, resources.pack.detector())
    matches = [_best_match(face.box, found) for face in stored]
    vectors = iter(_vectors(picture, [match for match in matches if match], resources))
    # The pixels may be the sandbox's own, which the next picture overwrites.
    answers = [
        EmbeddedAgain(face, None if match is None else next(vectors), "picture")
        for face, match in zip(stored, matches, strict=True)
    ]
    return [
        each if each.vector is not None else _of_cutout(each.face, NoFace(), media, resources)
        for each in answers
    ]


def _of_cutout(
    face: StoredFace, because: FaceError, media: MediaStore, resources: AnalysisResources
) -> EmbeddedAgain:
    """A face that its picture does not show, ``because`` of this."""
    cutout = _pixels(face.face_key, media, resources)
    if isinstance(cutout, FaceError):
        return EmbeddedAgain(face, None, missing=because.code)
    found = detect_largest(cutout, resources.pack.detector())
    if not found:
        return EmbeddedAgain(face, None, missing=because.code)
    return EmbeddedAgain(face, _vectors(cutout, found, resources)[0], "cutout")


def _pixels(key: str, media: MediaStore, resources: AnalysisResources) -> Picture | FaceError:
    try:
        return decode(media.get(key), resources.limits, resources.sandbox, borrow=True)
    except FaceError as error:
        if isinstance(error, BadInput | MediaNotFound | MediaCorrupt) or type(error) is FaceError:
            return error
        raise


def _best_match(box: Box, found: Sequence[DetectedFace]) -> DetectedFace | None:
    best = max(found, key=lambda face: face.box.overlap(box), default=None)
    return best if best is not None and best.box.overlap(box) >= SAME_FACE_OVERLAP else None


def _vectors(
    picture: Picture, found: Sequence[DetectedFace], resources: AnalysisResources
) -> list[Embedding]:
    embedder = resources.pack.embedder()
    return list(embed(align_faces(picture, found, embedder), embedder))
