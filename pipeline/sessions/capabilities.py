"""The operations that a pack supports beyond detecting and comparing faces."""

from __future__ import annotations

from pipeline.errors import TaskUnsupported
from pipeline.sessions.base import ModelTask, PackInfo

ACTIVE = "active liveness (living)"
PASSIVE = "passive liveness (livenessScore, and its part of living)"
FEATURES = "features (512 numbers)"

# Each of these sets of models gives the contours of eyes and mouth. The 3-D points that
# InsightFace's packs call 68 do not follow the lids.
_CONTOURS = (
    frozenset({ModelTask.LANDMARK_468, ModelTask.EYE_CONTOUR}),
    frozenset({ModelTask.LANDMARK_106}),
)
_CONTOURS_OF_DLIB = (frozenset({ModelTask.LANDMARK_68}),)

_OPERATION = {
    ModelTask.LANDMARK_68: ACTIVE,
    ModelTask.LANDMARK_106: ACTIVE,
    ModelTask.LANDMARK_468: ACTIVE,
    ModelTask.EYE_CONTOUR: ACTIVE,
    ModelTask.ANTI_SPOOF: PASSIVE,
}

_DOCUMENTED_NUMBERS = 512
_RATE_OF_DLIB = 30.0


def unserved_operations(info: PackInfo) -> tuple[str, ...]:
    """The operations for which the pack has no model, in words."""
    contours = _CONTOURS_OF_DLIB if info.kind == "dlib" else _CONTOURS
    lacks = (
        (ACTIVE, not any(models <= info.tasks for models in contours)),
        (PASSIVE, ModelTask.ANTI_SPOOF not in info.tasks),
        (FEATURES, info.dimension != _DOCUMENTED_NUMBERS),
    )
    return tuple(operation for operation, lacking in lacks if lacking)


def min_frame_rate(info: PackInfo) -> float:
    """Frames per second that the pack needs to see a blink. dlib's lid points move late and
    little: at half of this rate the frame with closed lids may be skipped."""
    return _RATE_OF_DLIB if info.kind == "dlib" else 0.0


def unsupported_error(info: PackInfo, task: ModelTask) -> TaskUnsupported:
    """The error for a pack without a model for ``task``, naming the operations it cannot serve."""
    operation = _OPERATION.get(task)
    cannot = f" and cannot serve {operation}" if operation else ""
    return TaskUnsupported(
        f"The pack {info.name!r} has no model for {task.value}{cannot}; it has "
        f"{', '.join(sorted(info.tasks))}."
    )
