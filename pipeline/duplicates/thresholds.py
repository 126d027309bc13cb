"""From how large a search is to the cosines that count in it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.calibration.table import Calibration

MAX_FMR = 1e-5
"""The laxest rate at which two faces are called one person, however few pairs there are:
about what the shipped tables were counted down to (``measured_to``)."""

MAX_COSINE = 0.999
"""The strictest cosine that is asked for: one face, embedded twice, reaches it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``same``: two faces at this cosine or above are taken for one person, ``same_fmr``
    of the pairs of strangers are, too. ``apart``: the faces of one name belong together
    from this mean cosine on; strangers reach it at the rate ``apart_fmr``."""

    same: float
    same_fmr: float
    apart: float
    apart_fmr: float


def count_pairs(batch_faces: int, other_faces: int) -> int:
    """The pairs that are compared: ``fresh`` faces with each other and with the ``other_faces``."""
    return batch_faces * (batch_faces - 1) // 2 + batch_faces * other_faces


def thresholds_for(
    pairs: int, table: Calibration, false_findings: float, apart_fmr: float
) -> Thresholds:
    """What counts among so many ``pairs``.

    Were all of them strangers, ``false_findings`` of them would be found: the rate is
    that number divided by the pairs, and never above ``MAX_FMR``. For rates below the
    end of the table (1e-6) its last straight line is carried on. That errs on the safe
    side: the table is made from a tail ``cosine = a + b * (-log10 FMR)^p`` with p <= 1
    (``pipeline/calibration/fit.py``), which bends down from the line, so that at a cosine on the
    line fewer strangers pass than the line says. What the tail does not know of are
    people who are more alike than strangers are: twins and families.
    """
    rate = min(MAX_FMR, false_findings / max(pairs, 1))
    return Thresholds(
        same=min(table.cosine_at(rate), MAX_COSINE), same_fmr=rate,
        apart=table.cosine_at(apart_fmr), apart_fmr=apart_fmr,
    )
