"""Whether a clip shows the actions of a challenge in their order, each once, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.events import FacialEvent
from pipeline.living.head_motion import HeadCurves, HeadMotion, nods, turns
from pipeline.living.series import ClipSeries
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.types import Embedding

_BLINK = LivenessAction.BLINK.value


@dataclass(frozen=True, slots=True)
class RequestedOrder:
    """The ``actions`` that a clip must show; ``mirrored``: it shows the person as a mirror does."""

    actions: tuple[LivenessAction, ...]
    mirrored: bool = False


def head_motions(series: ClipSeries, *, mirrored: bool = False) -> list[HeadMotion]:
    """The turns and nods of a clip, in order."""
    curves = HeadCurves.from_faces(series.times, series.faces)
    return sorted(
        [*turns(curves, mirrored=mirrored), *nods(curves)], key=lambda motion: motion.peak
    )


def order_reasons(
    asked: RequestedOrder, found: Mapping[LivenessAction, Sequence[FacialEvent]],
    heads: Sequence[HeadMotion],
) -> Iterator[LivenessReason]:
    """Why a clip with these events does not answer the challenge; nothing when it does. Only
    genuine events count.

    People blink without being asked: further blinks are allowed anywhere. Lids and lips do not
    count while the head moves or is turned, where natural blinks fall. An action may be
    repeated at once, as a nod is. Any other turn, nod or opening of the mouth makes another
    order: a clip with everything in it answers no challenge.
    """
    moved = [head for head in heads if head.genuine]
    shown = [(head.peak, head.action) for head in moved]
    for action, events in found.items():
        for event in events:
            during = any(head.start <= event.peak <= head.end for head in moved)
            if event.genuine and not during:
                shown.append((event.peak, action))
    text = "".join(str(action.value) for _, action in sorted(shown))
    if re.fullmatch(_pattern(asked.actions), text) is None:
        complete = {*asked.actions} <= {action for _, action in shown}
        yield LivenessReason.WRONG_ORDER if complete else LivenessReason.MISSING_ACTION


def _pattern(asked: Sequence[LivenessAction]) -> str:
    blinks = f"{_BLINK}*"
    steps = [
        f"{_BLINK}+" if action == _BLINK else f"{action.value}(?:{blinks}{action.value})*"
        for action in asked
    ]
    return blinks + blinks.join(steps) + blinks


def typical_face(rows: NDArray[np.float32]) -> Embedding:
    """The person of a clip by the embeddings of its frames, shape (n, d): the mean of the half
    that is nearest to the frame most similar to all others."""
    cosines = rows @ rows.T
    nearest = np.argsort(-cosines[int(np.median(cosines, axis=1).argmax())])
    mean = rows[nearest[: (len(rows) + 1) // 2]].mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)
