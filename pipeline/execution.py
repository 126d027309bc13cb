"""Running the stages of a plan on one job, and the neutral result at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration import Calibration
from pipeline.errors import FaceError, NoFace, TaskUnsupported, Uncalibrated
from pipeline.jobs.model import Job, JsonObject
from pipeline.media.base import MediaStore
from pipeline.media.header import PictureLimits
from pipeline.plans import Plan, Stage
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.types import Crop, Face, Picture


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """What has been computed of a job so far; each list has one entry a picture.

    ``sizes`` are (width, height) of the upright pictures, ``faces`` stand largest
    first, ``crops`` are the faces to embed, ``embeddings`` have shape (crops,
    dimension). ``pictures`` is empty once nothing needs the pixels any more.
    """

    pictures: list[Picture] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    faces: list[list[Face]] = field(default_factory=list)
    crops: list[list[Crop]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a worker brings to the stages. ``calibration`` is the pack's table, None
    when it has none."""

    media: MediaStore
    pack: Pack
    limits: PictureLimits
    calibration: Calibration | None


def run_stage(stage: Stage, plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    """One stage of one job. Raises ``FaceError``."""
    return _RUN[stage](plan, job, carry, tools)


def _decode(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    if plan.dimension is not None and tools.pack.info.dimension != plan.dimension:
        raise TaskUnsupported(
            f"{plan.operation} needs embeddings of {plan.dimension} numbers; the pack "
            f"{tools.pack.info.name!r} gives {tools.pack.info.dimension}. Serve another pack."
        )
    pictures = []
    for index, key in enumerate(job.media):
        with _blame(index):
            pictures.append(decode(tools.media.get(key), tools.limits))
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    return Carry(pictures=pictures, sizes=sizes)


def _detect(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    faces = [detect(picture, tools.pack.detector()) for picture in carry.pictures]
    for index, found in enumerate(faces):
        if plan.face_required and not found:
            raise NoFace(picture=index)
    if not plan.embed_faces:
        return replace(carry, faces=faces, pictures=[])
    embedder = tools.pack.embedder()
    crops = [
        align_faces(picture, found[: plan.embed_faces], embedder)
        for picture, found in zip(carry.pictures, faces, strict=True)
    ]
    # The crops are all that embedding needs: pixels need not cross to its machine.
    return replace(carry, faces=faces, crops=crops, pictures=[])


def _embed(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    vectors = embed([crop for crops in carry.crops for crop in crops], tools.pack.embedder())
    ends = np.cumsum([len(crops) for crops in carry.crops])[:-1]
    return replace(carry, crops=[], embeddings=np.split(vectors, ends))


@contextmanager
def _blame(index: int) -> Iterator[None]:
    """An error that is raised inside names the picture ``index``."""
    try:
        yield
    except FaceError as error:
        error.picture = index
        raise


_RUN: dict[Stage, Callable[[Plan, Job, Carry, Toolbox], Carry]] = {
    Stage.DECODE: _decode,
    Stage.DETECT: _detect,
    Stage.EMBED: _embed,
}


def conclude(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> JsonObject:
    """The neutral result that a job's row keeps, once its last stage is through.
    Raises ``FaceError``."""
    return _CONCLUDE[plan.operation](job, carry, tools)


# Neutral results ---------------------------------------------------------------


def _pictures(carry: Carry) -> list[JsonObject]:
    return [
        {"width": width, "height": height, "faces": [_face(face) for face in faces]}
        for (width, height), faces in zip(carry.sizes, carry.faces, strict=True)
    ]


def _face(face: Face) -> JsonObject:
    box = face.box
    return {
        "box": [round(float(side), 3) for side in (box.left, box.top, box.right, box.bottom)],
        "score": round(float(face.score), 4),
    }


def _conclude_locate(job: Job, carry: Carry, tools: Toolbox) -> JsonObject:
    return {"pack": tools.pack.info.name, "pictures": _pictures(carry)}


def _conclude_verify(job: Job, carry: Carry, tools: Toolbox) -> JsonObject:
    if tools.calibration is None:
        raise Uncalibrated(
            f"The pack {tools.pack.info.name!r} has no calibration table: a score would mean "
            "nothing. Run `faceline calibrate`."
        )
    first, second = (vectors[0] for vectors in carry.embeddings)
    cosine = float(np.clip(np.dot(first, second), -1.0, 1.0))
    return {
        **_conclude_locate(job, carry, tools),
        "cosine": cosine,
        "confidence": tools.calibration.confidence(cosine),
        "distance": tools.calibration.distance(cosine),
    }


def _conclude_features(job: Job, carry: Carry, tools: Toolbox) -> JsonObject:
    # The shortest decimal that reads back as the same float32.
    vector: list[Any] = [float(str(value)) for value in carry.embeddings[0][0]]
    return {**_conclude_locate(job, carry, tools), "embedding": vector}


_CONCLUDE: dict[str, Callable[[Job, Carry, Toolbox], JsonObject]] = {
    "locate": _conclude_locate,
    "verify": _conclude_verify,
    "features": _conclude_features,
}
