"""What each operation does with its pictures: an ordered list of stages.

Light on purpose: whoever only sends jobs on their way imports this, not the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """A step that can have machines of its own; the value names its queue."""

    FETCH = "fetch"
    DECODE = "decode"
    DETECT = "detect"
    EMBED = "embed"
    INDEX = "index"
    LIVENESS = "liveness"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Plan:
    """How an operation is carried out.

    ``embed_faces`` is the most faces a picture that are embedded, 0 for none; with
    ``face_required`` a picture without a face ends the job, with ``one_face`` one with
    several, too; ``most_faces`` is how many a picture may have, 0 any number;
    ``dimension`` is the length of embedding that the operation's answer promises, None
    when any will do. Of the faces that are embedded, ``measure`` wants
    the quality, ``gate`` that it passes the limits, and ``cut`` pictures. With ``clip``
    its one picture is a clip. A ``patient`` job waits for as long as anything but its
    pictures hinders it: a store that is away, a pack that is not the gallery's.
    """

    operation: str
    stages: tuple[Stage, ...]
    embed_faces: int = 0
    face_required: bool = False
    one_face: bool = False
    most_faces: int = 0
    dimension: int | None = None
    measure: bool = False
    gate: bool = False
    cut: bool = False
    clip: bool = False
    patient: bool = False

    def first_stage(self, params: Mapping[str, object]) -> Stage:
        """Where a job with these parameters begins: at fetching only when one of its
        pictures is to be fetched. ``params["fetch"]`` then has one entry a picture, its
        URL or None."""
        urls = params.get("fetch")
        if self.stages[0] is Stage.FETCH and not (isinstance(urls, list) and any(urls)):
            return self.stages[1]
        return self.stages[0]

    def next_stage(self, stage: Stage) -> Stage | None:
        """The stage after ``stage``; None after the last."""
        after = self.stages.index(stage) + 1
        return self.stages[after] if after < len(self.stages) else None


_LOCATING = (Stage.DECODE, Stage.DETECT)
_EMBEDDING = (*_LOCATING, Stage.EMBED)
_SEARCHING = (*_EMBEDDING, Stage.INDEX)

PLANS = {
    plan.operation: plan
    for plan in (
        Plan("locate", _LOCATING),
        Plan("verify", _EMBEDDING, embed_faces=1, face_required=True),
        Plan("features", _EMBEDDING, embed_faces=1, face_required=True, dimension=512),
        Plan("compare", _EMBEDDING, embed_faces=1, face_required=True, measure=True),
        Plan("similarity", _EMBEDDING, embed_faces=1, face_required=True, one_face=True),
        Plan("match", _EMBEDDING, embed_faces=1, face_required=True, one_face=True),
        Plan("search", _SEARCHING, embed_faces=1, face_required=True, measure=True),
        Plan(
            "enrol", _EMBEDDING, embed_faces=1, face_required=True, measure=True, cut=True
        ),
        Plan(
            "replace", _EMBEDDING, embed_faces=1, face_required=True, one_face=True,
            measure=True, cut=True,
        ),
        Plan(
            "matrix", (Stage.FETCH, *_EMBEDDING), embed_faces=4, face_required=True, most_faces=4
        ),
        Plan("living", (Stage.LIVENESS,), clip=True),
        # A chunk of a batch: everything at once, by workers of its own.
        Plan("bulk", (Stage.BULK,), patient=True),
        # A part of the search of a batch that is done, by the same workers.
        Plan("doubles", (Stage.BULK,), patient=True),
    )
}
