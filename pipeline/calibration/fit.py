"""Fits a calibration table to labelled embeddings.

Every pair of faces of different people is an impostor pair. A fine histogram counts their
cosines block by block, in constant memory. Down to FMR 1e-2 the table is the count itself.
Below it a model of the tail applies,

    cosine = a + b * (-log10 FMR) ** p,   0 < p <= 1,

which is that of a normal distribution at p = 1/2 and of an exponential one at p = 1; a
recognition model whose cosines crowd below 1 has a smaller p. The model is fitted to the
counts between 1e-1.5 and the lowest rate with enough pairs, and extrapolates to 1e-6.

The smooth model also makes the table robust: one person under two names gives a few
"impostor" pairs far above the model's expectation, which are excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.calibration.table import LOG_AT_DISTANCE, LOG_LAST, Calibration
from pipeline.errors import ConfigurationError, InvalidParameter

Counts = NDArray[np.int64]
"""Pairs per bin of the cosine, shape (BINS,)."""

BINS = 20_000
EDGES = np.linspace(-1.0, 1.0, BINS + 1)
BLOCK = 512  # faces per block: 512 x 20,000 cosines are 40 MB

# Thirty errors determine a rate to within 30 % with 90 % confidence (the "rule of 30",
# Doddington et al. 2000). The pairs of one person are correlated, so more are required.
PAIRS_NEEDED = 100
MIN_IMPOSTOR_PAIRS = round(PAIRS_NEEDED / 10**LOG_AT_DISTANCE)
MIN_PEOPLE = 100

# log10 FMR: the table's knots; where the tail model replaces the counts; where its fit
# starts; where the fit ends before and after wrong labels are excluded.
KNOTS = -np.arange(2, -4 * LOG_LAST + 1) / 4
TAIL_FROM, FIT_FROM, FIT_TO_AT_FIRST, FIT_TO_AT_LAST = -2.0, -1.5, -3.0, -5.0
FIT_STEP = 0.1
POWERS = np.arange(0.1, 1.001, 0.05)

# A pair counts as wrongly labelled above the cosine at which the model expects a tenth of a
# pair in total: by chance one data set in ten loses one good pair.
SUSPECT_BELOW = 0.1
CLEANING_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class TailModel:
    """cosine = start + slope * (-log10 FMR) ** power."""

    start: float
    slope: float
    power: float

    def cosine_at(self, log_fmr: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(
            self.start + self.slope * (-np.asarray(log_fmr, dtype=np.float64)) ** self.power
        )


@dataclass(frozen=True, slots=True)
class CalibrationSource:
    """The description of the data, which is copied into the table."""

    pack: str
    model: str
    dimension: int
    origin: str = ""
    people: int = 0
    faces: int = 0
    left_out: int = 0


def fit_people(
    embeddings: NDArray[np.float32], labels: Sequence[str], source: CalibrationSource
) -> Calibration:
    """Fits a table to embeddings of unit length, shape (faces, dimension), and the label of
    each one's person.

    Raises ``InvalidParameter`` when there are too few people or pairs for a rate of 1e-3,
    or when the cosines are not those of faces.
    """
    people, person = np.unique(np.asarray(labels), return_inverse=True)
    if len(people) < MIN_PEOPLE:
        raise InvalidParameter(
            f"{len(people)} people are too few: calibration needs at least {MIN_PEOPLE}, and "
            f"{MIN_IMPOSTOR_PAIRS} pairs of different people."
        )
    impostor, genuine = count_pairs(embeddings, person)
    return fit_counts(impostor, genuine, source)


def fit_pairs(
    cosines: Sequence[float], same: Sequence[bool], source: CalibrationSource
) -> Calibration:
    """Fits a table to labelled pairs. Raises ``InvalidParameter``."""
    values, truth = np.asarray(cosines, dtype=np.float64), np.asarray(same, dtype=bool)
    return fit_counts(_histogram(values[~truth]), _histogram(values[truth]), source)


def count_pairs(
    embeddings: NDArray[np.float32], person: NDArray[np.integer]
) -> tuple[Counts, Counts]:
    """Histograms of the cosines of all impostor pairs and of all same-person pairs."""
    impostor, genuine = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for start in range(0, len(embeddings), BLOCK):
        rows = embeddings[start : start + BLOCK]
        cosines = rows @ embeddings[start:].T
        later = np.arange(cosines.shape[1]) > np.arange(len(rows))[:, None]
        same = person[start : start + BLOCK, None] == person[None, start:]
        impostor += _histogram(cosines[later & ~same])
        genuine += _histogram(cosines[later & same])
    return impostor, genuine


def _histogram(cosines: NDArray[np.floating]) -> Counts:
    return np.histogram(np.clip(cosines, -1.0, 1.0), EDGES)[0].astype(np.int64, copy=False)


# The model ---------------------------------------------------------------------


def fit_counts(impostor: Counts, genuine: Counts, source: CalibrationSource) -> Calibration:
    """Fits a table to labelled pairs that were counted. Raises ``InvalidParameter``."""
    require_pairs(impostor)
    clean, tail, measured_to = _clean(impostor)
    suspects = int(impostor.sum()) - int(clean.sum())
    return make_table(clean, tail, measured_to, genuine, source, suspects)


def require_pairs(impostor: Counts) -> None:
    """Raises ``InvalidParameter`` for fewer pairs than a rate of 1e-3 needs."""
    pairs = int(impostor.sum())
    if pairs < MIN_IMPOSTOR_PAIRS:
        raise InvalidParameter(
            f"{pairs} pairs of different people determine the false-match rate only down to "
            f"{PAIRS_NEEDED / max(pairs, 1):.1g}; 1e-3 needs at least {MIN_IMPOSTOR_PAIRS} "
            "(450 people with one picture each)."
        )


def make_table(
    clean: Counts, tail: TailModel, measured_to: float, genuine: Counts,
    source: CalibrationSource, suspects: int,
) -> Calibration:
    """The table of impostor pairs ``clean`` and of the model of their tail, which was fitted down
    to the rate 10 ** ``measured_to``; ``suspects`` pairs are left out. Raises
    ``InvalidParameter``."""
    above = KNOTS[KNOTS > TAIL_FROM]
    cosines = [*_cosines_at(clean, above), *tail.cosine_at(KNOTS[len(above) :])]
    threshold = float(tail.cosine_at(LOG_AT_DISTANCE))
    rounded = [(round(float(x), 5), float(y)) for x, y in zip(cosines, KNOTS, strict=True)]
    try:
        return Calibration(
            **asdict(source), knots=tuple(rounded), impostor_pairs=int(clean.sum()) + suspects,
            suspects=suspects, measured_to=float(f"{10**measured_to:.2g}"),
            true_match_rate=round(_share_above(genuine, threshold), 5),
        )
    except ConfigurationError as error:
        raise InvalidParameter(
            "the cosines of different people do not differ as those of faces do; "
            "are the pictures faces, each in the folder of its person?"
        ) from error


def _clean(impostor: Counts) -> tuple[Counts, TailModel, float]:
    """The counts without pairs that must be one person, their tail model, and log10 of the
    lowest rate of its fit."""
    lowest = lowest_rate(impostor)
    tail = fit_tail(impostor, FIT_TO_AT_FIRST)
    for _ in range(CLEANING_ROUNDS):
        limit = float(tail.cosine_at(np.log10(SUSPECT_BELOW / impostor.sum())))
        impostor = np.where(EDGES[:-1] < limit, impostor, 0)
        tail = fit_tail(impostor, lowest)
    return impostor, tail, lowest


def lowest_rate(impostor: Counts) -> float:
    """log10 of the lowest rate that so many pairs count."""
    return max(float(np.log10(PAIRS_NEEDED / impostor.sum())), FIT_TO_AT_LAST)


def fit_tail(impostor: Counts, lowest: float) -> TailModel:
    """Least squares over log-rates at equal steps, for each power."""
    logs = np.arange(FIT_FROM, lowest - 1e-9, -FIT_STEP)
    cosines = _cosines_at(impostor, logs)
    fits = []
    for power in POWERS:
        terms = np.column_stack([np.ones_like(logs), (-logs) ** power])
        (start, slope), *_ = np.linalg.lstsq(terms, cosines)
        error = float(((terms @ (start, slope) - cosines) ** 2).sum())
        fits.append((error, TailModel(float(start), float(slope), float(power))))
    return min(fits, key=lambda pair: pair[0])[1]


def _cosines_at(counts: Counts, logs: NDArray[np.floating]) -> NDArray[np.float64]:
    """The cosine with a share of 10**log of the pairs above it, interpolated linearly."""
    above = np.append(np.cumsum(counts[::-1])[::-1], 0)
    wanted = above[0] * 10.0 ** np.asarray(logs)
    last = np.searchsorted(-above, -wanted, side="right") - 1
    part = (above[last] - wanted) / np.maximum(above[last] - above[last + 1], 1)
    return np.asarray(EDGES[last] + part * (EDGES[1] - EDGES[0]), dtype=np.float64)


def _share_above(counts: Counts, cosine: float) -> float:
    total = int(counts.sum())
    return float(counts[np.searchsorted(EDGES, cosine) :].sum() / total) if total else 0.0
