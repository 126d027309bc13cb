"""What each operation does with its pictures: an ordered list of stages.

Light on purpose: whoever only sends jobs on their way imports this, not the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """A step that can have machines of its own; the value names its queue."""

    DECODE = "decode"
    DETECT = "detect"
    EMBED = "embed"


@dataclass(frozen=True, slots=True)
class Plan:
    """How an operation is carried out.

    ``embed_faces`` is the most faces a picture that are embedded, 0 for none; with
    ``face_required`` a picture without a face ends the job; ``dimension`` is the
    length of embedding that the operation's answer promises, None when any will do.
    """

    operation: str
    stages: tuple[Stage, ...]
    embed_faces: int = 0
    face_required: bool = False
    dimension: int | None = None

    def next_stage(self, stage: Stage) -> Stage | None:
        """The stage after ``stage``; None after the last."""
        after = self.stages.index(stage) + 1
        return self.stages[after] if after < len(self.stages) else None


_LOCATING = (Stage.DECODE, Stage.DETECT)
_EMBEDDING = (*_LOCATING, Stage.EMBED)

PLANS = {
    plan.operation: plan
    for plan in (
        Plan("locate", _LOCATING),
        Plan("verify", _EMBEDDING, embed_faces=1, face_required=True),
        Plan("features", _EMBEDDING, embed_faces=1, face_required=True, dimension=512),
    )
}
