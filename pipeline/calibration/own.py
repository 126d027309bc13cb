"""Fits a calibration table to the faces of one gallery.

Nobody has labelled them: one person may be enrolled several times, under one name, several or
none. Faces that have one name, or that are as alike as one pair of strangers in a million by the
pack's table, are taken for one person, and so are faces that others connect in this way. The
other pairs are impostor pairs, except that

- those at or above the connecting cosine were removed, although a few were strangers: they are
  replaced by the number that the model of the tail expects, which is fitted again until it
  hardly moves;
- some pairs of one person are not alike enough to be connected. At least a tenth of the connected
  pairs, or the share of them that only others connect, may be left; the tail is fitted to rates ten
  times as high as that, and extrapolated below.

So many pairs of one person leave the table where labels put it (``docs/calibration.md``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.fit import (
    BINS,
    BLOCK,
    EDGES,
    FIT_TO_AT_FIRST,
    MIN_PEOPLE,
    CalibrationSource,
    Counts,
    TailModel,
    count_pairs,
    fit_tail,
    lowest_rate,
    make_table,
    require_pairs,
)
from pipeline.calibration.table import Calibration
from pipeline.errors import InvalidParameter

SAMPLE_FACES = 5000
"""Faces that suffice: 12 million pairs count a rate of 1e-5."""

# The deployed rates at which faces are connected: the first of them that connects hardly any
# strangers, which may resemble each other more than the table's people.
LINK_FMRS = (1e-6, 1e-7, 1e-8, 1e-9)

# Connected strangers for each face, of which there may be so many at most.
CHANCE_LINKS = 0.05

# Pairs of one person that are not connected, as a share of those that are. With `edge` 6 % of
# LFW's pairs of one person are less alike.
UNLINKED = 0.1

# How much more pairs of strangers than of one person a rate must have to be fitted to.
MARGIN = 10

# Above this share of faces in one person the connections are not those of people.
LARGEST_PERSON = 0.25

# log10 of the lowest rate of a fit, above which too little of the tail is left to fit.
FIT_TO_AT_LEAST = -2.25

FIT_ROUNDS = 6
_LOGS = np.arange(-1.0, -12.0, -0.01)  # log10 of rates at which the model is inverted


def fit_gallery(
    vectors: NDArray[np.float32], names: NDArray[np.int64], deployed: Calibration,
    source: CalibrationSource,
) -> Calibration:
    """Fits a table to a gallery's faces: ``vectors`` of unit length, shape (faces, dimension), and
    a number for each one's name, 0 for none. ``deployed`` is the table that was used so far.

    ``people`` of the table are estimated, ``suspects`` are the pairs of different names that are
    taken for one person. Raises ``InvalidParameter`` when there are too few people, or too many
    pairs of one person.
    """
    by_name = _named_people(names)
    same_name = count_pairs(vectors, by_name)[1]
    made, failure = None, None
    for fmr in LINK_FMRS:
        try:
            made, beyond = _fit_connected(
                vectors, by_name, same_name, deployed.cosine_at(fmr), source
            )
        except InvalidParameter as error:
            failure = failure or error
        else:
            if beyond * made.impostor_pairs < CHANCE_LINKS * len(names):
                break
    if made is None:
        assert failure is not None
        raise failure
    return made


def _fit_connected(
    vectors: NDArray[np.float32], by_name: NDArray[np.int64], same_name: Counts, limit: float,
    source: CalibrationSource,
) -> tuple[Calibration, float]:
    """A table of faces that are one person's at the cosine ``limit``, and the rate of strangers
    there. Raises ``InvalidParameter``."""
    people = _connected(vectors, by_name, limit)
    sizes = np.unique(people, return_counts=True)[1]
    _check_people(sizes)
    impostor, linked = count_pairs(vectors, people)
    require_pairs(impostor)
    doubles = linked - same_name
    tail, measured_to, beyond = _fit_below(impostor, doubles, limit)
    made = make_table(impostor, tail, measured_to, same_name, source, int(doubles.sum()))
    return replace(made, people=len(sizes), faces=len(vectors)), beyond


def _check_people(sizes: NDArray[np.int64]) -> None:
    """Raises ``InvalidParameter`` when people of these numbers of faces make no table."""
    faces = int(sizes.sum())
    if len(sizes) < MIN_PEOPLE:
        raise InvalidParameter(
            f"the gallery shows about {len(sizes)} people; a table needs at least {MIN_PEOPLE}"
        )
    if sizes.max() > LARGEST_PERSON * faces:
        raise InvalidParameter(
            f"{sizes.max()} of {faces} faces look like one person to this pack"
        )


def _named_people(names: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each face: one for all faces of a name, one for each face without."""
    unnamed = names == 0
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    numbers[unnamed] = len(names) + np.flatnonzero(unnamed)
    return numbers


def _connected(
    vectors: NDArray[np.float32], by_name: NDArray[np.int64], limit: float
) -> NDArray[np.int64]:
    """A number for each face, equal for faces that names and cosines connect."""
    count = len(vectors)
    alike = np.empty((count, count), bool)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        alike[part] = (vectors[part] @ vectors.T >= limit) | (by_name[part, None] == by_name)
    people = np.arange(count)
    while True:
        lowest = np.array([people[row].min() for row in alike], np.int64)
        if np.array_equal(lowest, people):
            return people
        people = lowest


def _fit_below(
    impostor: Counts, doubles: Counts, limit: float
) -> tuple[TailModel, float, float]:
    """The model of the tail of pairs below ``limit``, log10 of the lowest rate of its fit, and the
    rate at ``limit``. ``doubles`` are the pairs that were removed. Raises
    ``InvalidParameter``."""
    pairs, removed = int(impostor.sum()), int(doubles.sum())
    end = int(np.searchsorted(EDGES, limit))  # the first bin at or above the limit
    only_by_others = float(doubles[:end].sum() / max(removed, 1))
    left = max(UNLINKED, only_by_others) * removed / pairs
    lowest = max(lowest_rate(impostor), float(np.log10(max(MARGIN * left, 1e-12))))
    if lowest > FIT_TO_AT_LEAST:
        raise InvalidParameter(
            f"{removed} of {pairs + removed} pairs of faces seem to show one person: too many to "
            "tell strangers' from them; name the people of the gallery"
        )
    tail = fit_tail(impostor, max(lowest, FIT_TO_AT_FIRST))
    for _ in range(FIT_ROUNDS):
        beyond = 10.0 ** _LOGS[int(np.searchsorted(tail.cosine_at(_LOGS), limit)) - 1]
        filled = impostor.copy()
        filled[min(end, BINS - 1)] += round(beyond * pairs)
        lowest = max(lowest, float(np.log10(2 * beyond)))
        tail = fit_tail(filled, lowest)
    return tail, lowest, beyond
