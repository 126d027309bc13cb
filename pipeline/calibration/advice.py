"""The score to ask for in a search, by how many strangers it may hit.

A search compares a stranger with every face of the gallery. If each comparison is a false match
at the rate FMR, independently, the stranger is hit with the probability 1 - (1 - FMR)^N, the
false-positive identification rate (FPIR, ISO/IEC 19795-1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.calibration.table import Calibration, confidence_at, log_fmr_at

HIGHEST_SCORE = 99
"""The highest score that is advised; 100 is a face embedded twice."""


def fpir(fmr: float, faces: int) -> float:
    """The share of strangers that a search among ``faces`` hits, 0 to 1."""
    return -math.expm1(faces * math.log1p(-fmr)) if fmr < 1 else float(faces > 0)


def fmr_for(strangers: float, faces: int) -> float:
    """The false-match rate at which a search hits the share ``strangers``; the inverse of
    ``fpir``. At most 0.1, the rate of the lowest score that a table gives a rate."""
    return min(0.1, -math.expm1(math.log1p(-strangers) / max(faces, 1)))


def fpir_of_score(score: float, faces: int) -> float:
    """The share of strangers that reach ``score`` (40 to 100) among ``faces``, by the score's
    own rate."""
    return fpir(10.0 ** log_fmr_at(score / 100), faces) if score < 100 else 0.0


@dataclass(frozen=True, slots=True)
class ScoreAdvice:
    """The score to ask for among ``faces`` so that the share ``strangers`` is hit.

    ``by_size`` (0 to 100) follows from the number of faces; ``by_faces`` from what strangers
    among these faces reach, None when that is not known. ``score`` is the higher one, rounded up;
    ``fmr`` the rate that one comparison may have, ``expected`` the share of strangers that
    reach ``score``.
    """

    faces: int
    strangers: float
    fmr: float
    by_size: float
    by_faces: float | None
    score: int
    expected: float


def advise(
    faces: int, strangers: float, served: Calibration, own: Calibration | None
) -> ScoreAdvice:
    """``served`` is the table that makes the scores, ``own`` one made from the gallery."""
    fmr = fmr_for(strangers, faces)
    by_size = 100 * confidence_at(math.log10(fmr))
    by_faces = None if own is None else 100 * served.confidence(own.cosine_at(fmr))
    wanted = max(by_size, by_faces or 0.0)
    score = min(math.ceil(round(wanted, 6)), HIGHEST_SCORE)
    rate = (own or served).fmr(served.cosine_of(score / 100))
    return ScoreAdvice(faces, strangers, fmr, by_size, by_faces, score, fpir(rate, faces))
