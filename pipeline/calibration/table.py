"""Calibration tables: from a cosine to its false-match rate, confidence and distance.

The false-match rate (FMR, ISO/IEC 19795-1) is the share of pairs of different people whose
similarity is at least as high. Cosines of two recognition models cannot be compared, but their
false-match rates can. Every score of the service derives from the rate, by one table per model.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.config.storage import DataDirectory
from pipeline.errors import ConfigurationError

VERSION = 1

# The range in which the confidence is linear in log10(FMR): 0.4 at 1e-1, 0.9 at 1e-6. Each
# further decade halves what is missing to 1: 0.95 at 1e-7, 0.975 at 1e-8.
LOG_FIRST, LOG_LAST = -1.0, -6.0
CONFIDENCE_FIRST, CONFIDENCE_LAST = 0.4, 0.9

# One face that is embedded twice reaches this cosine, in spite of float32's rounding.
IDENTICAL = 1.0 - 1e-6

# The distance that means "the same person", and log10 of its rate.
DISTANCE_AT, LOG_AT_DISTANCE = 0.6, -3.0


def confidence_at(log_fmr: float) -> float:
    """The confidence of a false-match rate, given as log10: 0.4 at -1, 0.9 at -6, below 1."""
    if log_fmr < LOG_LAST:
        return 1.0 - (1.0 - CONFIDENCE_LAST) * math.exp2(log_fmr - LOG_LAST)
    return 0.3 - 0.1 * log_fmr


def log_fmr_at(confidence: float) -> float:
    """log10 of the false-match rate of a confidence below 1; the inverse of
    ``confidence_at``."""
    if confidence > CONFIDENCE_LAST:
        return LOG_LAST + math.log2((1.0 - confidence) / (1.0 - CONFIDENCE_LAST))
    return 10.0 * (0.3 - confidence)


def fmr_at(confidence: float) -> float | None:
    """The false-match rate that a confidence stands for, whatever its table: 0 for 1, which only
    the same picture reaches; None up to ``CONFIDENCE_FIRST``, where it is above one in ten."""
    if confidence <= CONFIDENCE_FIRST:
        return None
    return 0.0 if confidence >= 1.0 else float(10.0 ** log_fmr_at(confidence))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The table of one recognition model.

    ``knots`` are (cosine, log10 of the FMR) with strictly rising cosines and falling rates,
    from FMR 1e-1 or more to 1e-6 or less; the logarithm is linear between knots, and beyond
    the last one carries on its line. ``model`` is the SHA-256 of the model's file.

    The other fields describe the data: ``left_out`` pictures had no usable face;
    ``suspects`` are impostor pairs excluded as wrongly labelled; ``measured_to`` is the
    lowest counted FMR, below which the tail model applies; ``true_match_rate`` is the share
    of same-person pairs that pass at FMR 1e-3, 0 when there are none.
    """

    pack: str
    dimension: int
    model: str
    knots: tuple[tuple[float, float], ...]
    people: int = 0
    faces: int = 0
    left_out: int = 0
    impostor_pairs: int = 0
    suspects: int = 0
    measured_to: float = 0.0
    true_match_rate: float = 0.0
    origin: str = ""
    version: int = field(default=VERSION)

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ConfigurationError(f"calibration table: version {self.version} is unknown")
        _check_knots(self.knots)

    def fmr(self, cosine: float) -> float:
        """The false-match rate at a threshold of ``cosine``, 0 to 1."""
        return min(1.0, float(10.0 ** self._log_fmr(cosine)))

    def cosine_at(self, fmr: float) -> float:
        """The threshold with the false-match rate ``fmr`` (above 0, at most 1)."""
        wanted = math.log10(fmr)
        falling = [-log for _, log in self.knots]
        after = min(max(bisect_left(falling, -wanted), 1), len(self.knots) - 1)
        (x0, y0), (x1, y1) = self.knots[after - 1], self.knots[after]
        return min(1.0, max(-1.0, x0 + (wanted - y0) * (x1 - x0) / (y1 - y0)))

    def confidence(self, cosine: float) -> float:
        """0 to 1, rising with the cosine: 0.4 at FMR 1e-1, 0.9 at 1e-6, 0.95 at 1e-7; linear
        in the cosine below 0.4, and 1 from ``IDENTICAL`` on."""
        if cosine >= IDENTICAL:
            return 1.0
        first = self.cosine_at(10**LOG_FIRST)
        if cosine <= first:
            return CONFIDENCE_FIRST * max((cosine + 1.0) / (first + 1.0), 0.0)
        return confidence_at(self._log_fmr(cosine))

    def cosine_of(self, confidence: float) -> float:
        """The lowest cosine with this confidence: the inverse of ``confidence``."""
        if confidence >= 1.0:
            return IDENTICAL
        if confidence <= CONFIDENCE_FIRST:
            first = self.cosine_at(10**LOG_FIRST)
            return max(confidence, 0.0) / CONFIDENCE_FIRST * (first + 1.0) - 1.0
        return min(self.cosine_at(10 ** log_fmr_at(confidence)), IDENTICAL)

    def distance(self, cosine: float) -> float:
        """0 (identical) to 1; 0.6 at a false-match rate of one in a thousand."""
        reach = 1.0 - self.cosine_at(10**LOG_AT_DISTANCE)
        return min(1.0, DISTANCE_AT * math.sqrt(max(1.0 - cosine, 0.0) / reach))

    def _log_fmr(self, cosine: float) -> float:
        cosines = [x for x, _ in self.knots]
        after = min(max(bisect_left(cosines, cosine), 1), len(self.knots) - 1)
        (x0, y0), (x1, y1) = self.knots[after - 1], self.knots[after]
        return min(0.0, y0 + (cosine - x0) * (y1 - y0) / (x1 - x0))


def _check_knots(knots: Sequence[tuple[float, float]]) -> None:
    cosines, logs = [x for x, _ in knots], [y for _, y in knots]
    rising = all(a < b for a, b in pairwise(cosines))
    falling = all(a > b for a, b in pairwise(logs))
    if len(knots) < 2 or not rising or not falling:
        raise ConfigurationError("calibration table: cosines must rise and rates fall")
    if logs[0] < LOG_FIRST or logs[-1] > LOG_LAST or cosines[0] <= -1 or cosines[-1] >= 1:
        raise ConfigurationError("calibration table: it must reach from FMR 1e-1 to 1e-6")


# Tables on disk ----------------------------------------------------------------


def load_table(pack: str, data_dir: Path | None = None, model: str = "") -> Calibration | None:
    """The table of a pack; None when it has none.

    ``model`` is the SHA-256 of the recognition model (``PackInfo.recognition_model``);
    tables of another model file are skipped. The operator's own table in the data directory
    precedes the shipped one. Raises ``ConfigurationError`` for an unreadable table.
    """
    shipped = resources.files("pipeline.calibration") / "tables" / f"{pack}.json"
    own = [] if data_dir is None else [DataDirectory(data_dir).calibration_table(pack)]
    for path in (*own, shipped):
        if path.is_file():
            table = table_from_json(path.read_text("utf-8"))
            if model in ("", table.model):
                return table
    return None


def load_own_tables(pack: str, data_dir: Path, model: str) -> dict[int, Calibration]:
    """The tables that were made from the galleries of single tenants, by the tenant's id; those
    of another model are skipped. Raises ``ConfigurationError``."""
    found: dict[int, Calibration] = {}
    for path, tenant_id in DataDirectory(data_dir).own_calibration_tables(pack):
        table = table_from_json(path.read_text("utf-8"))
        if (table.pack, table.model) == (pack, model):
            found[tenant_id] = table
    return found


def save_table(
    calibration: Calibration, data_dir: Path, tenant_id: int | None = None
) -> Path:
    """Writes an operator's own table, or that of a tenant's gallery, into the data directory;
    returns its path."""
    path = DataDirectory(data_dir).calibration_table(calibration.pack, tenant_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".json.new")
    fresh.write_text(table_to_json(calibration), "utf-8")
    fresh.replace(path)
    return path


def table_to_json(calibration: Calibration) -> str:
    return json.dumps(asdict(calibration), indent=1) + "\n"


def table_from_json(text: str) -> Calibration:
    """Raises ``ConfigurationError``."""
    try:
        fields: dict[str, Any] = json.loads(text)
        knots = tuple((float(x), float(y)) for x, y in fields.pop("knots"))
        return Calibration(knots=knots, **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"the calibration table cannot be read: {error}") from error

