"""The cosine thresholds of a search, from the number of compared pairs."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.calibration.table import Calibration

MAX_FMR = 1e-5
"""The highest rate at which two faces count as one person, however few pairs there are. The
shipped tables were measured down to about this rate (``measured_to``)."""

MAX_COSINE = 0.999
"""The highest threshold; one face that is embedded twice reaches it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``same``: two faces at this cosine or above count as one person; pairs of strangers
    reach it at the rate ``same_fmr``. ``apart``: the faces of one name belong together from
    this mean cosine on, which strangers reach at the rate ``apart_fmr``."""

    same: float
    same_fmr: float
    apart: float
    apart_fmr: float


def count_pairs(batch_faces: int, other_faces: int) -> int:
    """The pairs of the batch's faces with each other and with the others."""
    return batch_faces * (batch_faces - 1) // 2 + batch_faces * other_faces


def thresholds_for(
    pairs: int, table: Calibration, false_findings: float, apart_fmr: float
) -> Thresholds:
    """The thresholds for so many ``pairs``.

    If all pairs were strangers, ``false_findings`` of them would be found: the rate is that number
    divided by the pairs, and at most ``MAX_FMR``. Below the end of the table (1e-6) its last
    straight line is extrapolated. That is conservative: the table is made from a tail ``cosine = a
    + b * (-log10 FMR)^p`` with p <= 1 (``pipeline/calibration/fit.py``), which bends down from the
    line, so fewer strangers reach a cosine on the line than the line says. The tail does not model
    twins and families, who are more similar than strangers.
    """
    rate = min(MAX_FMR, false_findings / max(pairs, 1))
    return Thresholds(
        same=min(table.cosine_at(rate), MAX_COSINE), same_fmr=rate,
        apart=table.cosine_at(apart_fmr), apart_fmr=apart_fmr,
    )
