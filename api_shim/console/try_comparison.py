"""The faces of two photos against each other, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_shim.console.texts import Texts
from pipeline.calibration.table import CONFIDENCE_FIRST, log_fmr_at
from pipeline.types import JsonObject

SHADES = (0.2, 0.4, 0.6, 0.7, 0.8)
"""The confidences at which the colour of a cell changes."""

IDENTICAL = 100

RAREST = 1e-9
"""The rate below which no figure is given: no set of pictures could confirm it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Two faces: their score of 100 as it is written and ``exact``, and how many pairs of
    different people reach it."""

    score: str
    exact: float
    rate: str
    shade: int


@dataclass(frozen=True, slots=True)
class ComparedFace:
    """A face of the first photo against those of the second."""

    face: JsonObject
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``rates`` are sentences, one for each threshold from 0 to 100; ``measured`` says how far
    the rates were counted; ``left_out``: whether there were more faces."""

    pictures: list[JsonObject]
    files: list[str]
    titles: list[str]
    columns: list[JsonObject]
    rows: list[ComparedFace]
    rates: list[str]
    threshold: int
    measured: str
    left_out: bool


def comparison(
    texts: Texts, result: JsonObject, threshold: int, inputs: Sequence[tuple[str, str]]
) -> Comparison:
    """A described result of ``matrix``; ``inputs`` are the names and titles of the two files."""
    first, second = result["pictures"]
    confidences, fmrs = result["confidences"], result["fmrs"]
    rows = [
        ComparedFace(face, [_cell(texts, *pair) for pair in zip(scores, rates, strict=True)])
        for face, scores, rates in zip(first["faces"], confidences, fmrs, strict=False)
    ]
    compared = len(confidences[0])
    return Comparison(
        pictures=[first, second], files=[name for name, _ in inputs],
        titles=[texts.gettext(title) for _, title in inputs],
        columns=second["faces"][:compared], rows=rows,
        rates=[_rate_at(texts, score) for score in range(IDENTICAL + 1)], threshold=threshold,
        measured=_measured(texts, result["measured_to"]),
        left_out=len(first["faces"]) > len(rows) or len(second["faces"]) > compared,
    )


def _cell(texts: Texts, confidence: float, fmr: float) -> Cell:
    shade = sum(confidence >= least for least in SHADES)
    return Cell(
        texts.number(round(100 * confidence, 1)), round(100 * confidence, 2),
        one_in(texts, fmr), shade,
    )


def one_in(texts: Texts, fmr: float) -> str:
    """A false-match rate in words."""
    if fmr < RAREST:
        said = texts.gettext("below 1 in %(count)s pairs")
        return said % {"count": texts.number(_rounded(1 / RAREST))}
    if fmr > 0.5:
        return texts.gettext("most pairs")
    return texts.gettext("1 in %(count)s pairs") % {"count": texts.number(_rounded(1 / fmr))}


def _rounded(count: float) -> int:
    """With two digits that count: a rate is not known better."""
    digits = max(len(str(int(count))) - 2, 0)
    return int(round(count, -digits))


def _rate_at(texts: Texts, score: int) -> str:
    if score >= IDENTICAL:
        return texts.gettext("Only a face that is compared with itself passes.")
    if score < 100 * CONFIDENCE_FIRST:
        return texts.gettext("More than one in ten pairs of different people pass.")
    count = texts.number(_rounded(10 ** -log_fmr_at(score / IDENTICAL)))
    said = texts.gettext("At this threshold one in %(count)s pairs of different people passes.")
    return said % {"count": count}


def _measured(texts: Texts, lowest: Any) -> str:
    if not lowest:
        return ""
    said = texts.gettext(
        "Rates down to one in %(count)s were counted; rarer ones follow from the tail's model."
    )
    return said % {"count": texts.number(_rounded(1 / lowest))}
