"""What a cosine is worth: the false-match rate behind it, and the scores made of it.

A false-match rate (FMR, ISO/IEC 19795-1) is the share of pairs of different people
whose similarity is at least as high. Two recognition models give the same pair quite
different cosines; their false-match rates can be compared. So every score that leaves
the service is made from the rate, by one table a model.
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

from pipeline.errors import ConfigurationError

VERSION = 1

# The range in which the confidence is a straight line over log10(FMR): 0.4 is one in
# ten and 0.9 one in a million (document c's table).
LOG_FIRST, LOG_LAST = -1.0, -6.0
CONFIDENCE_FIRST, CONFIDENCE_LAST = 0.4, 0.9

# The distance that document a takes for "the same person" stands at this rate.
DISTANCE_AT, LOG_AT_DISTANCE = 0.6, -3.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """The table of one recognition model.

    ``knots`` are (cosine, log10 of the FMR), cosines rising and rates falling
    strictly, from FMR 1e-1 or more to 1e-6 or less; between two knots the logarithm
    is a straight line. ``model`` is the SHA-256 of the model's file.

    The rest says what the table was made from: ``left_out`` pictures had no usable
    face, ``suspects`` are impostor pairs that were left out as wrongly labelled,
    ``measured_to`` is the lowest FMR that was counted (below it the tail model
    speaks), ``true_match_rate`` the share of same-person pairs that pass at FMR 1e-3,
    0 when there were none.
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
            raise ConfigurationError(f"calibration table: unknown version {self.version}")
        _check_knots(self.knots)

    def fmr(self, cosine: float) -> float:
        """The false-match rate at a threshold of ``cosine``, 0 to 1."""
        return min(1.0, float(10.0 ** self._log_fmr(cosine)))

    def cosine_at(self, fmr: float) -> float:
        """The threshold that lets ``fmr`` (above 0, at most 1) of the impostors pass."""
        wanted = math.log10(fmr)
        falling = [-log for _, log in self.knots]
        after = min(max(bisect_left(falling, -wanted), 1), len(self.knots) - 1)
        (x0, y0), (x1, y1) = self.knots[after - 1], self.knots[after]
        return min(1.0, max(-1.0, x0 + (wanted - y0) * (x1 - x0) / (y1 - y0)))

    def confidence(self, cosine: float) -> float:
        """0 to 1, rising with the cosine: 0.4 at FMR 1e-1, 0.9 at 1e-6."""
        first, last = self.cosine_at(10**LOG_FIRST), self.cosine_at(10**LOG_LAST)
        if cosine >= last:
            part = (cosine - last) / (1.0 - last)
            return CONFIDENCE_LAST + (1.0 - CONFIDENCE_LAST) * min(part, 1.0)
        if cosine <= first:
            return CONFIDENCE_FIRST * max((cosine + 1.0) / (first + 1.0), 0.0)
        return 0.3 - 0.1 * self._log_fmr(cosine)

    def distance(self, cosine: float) -> float:
        """0 (identical) to 1; 0.6 where one impostor in a thousand passes."""
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
    """The table of a pack; None when there is none for it.

    ``model`` is the SHA-256 of the recognition model it is wanted for
    (``PackInfo.recognition_model``): a table that was made with another model file is
    passed over. An operator's own table (``DATA_DIR/calibration/PACK.json``) goes
    before the one that is shipped. Raises ``ConfigurationError`` when a table cannot
    be read.
    """
    shipped = resources.files("pipeline") / "tables" / f"{pack}.json"
    places = [shipped] if data_dir is None else [_own_table(data_dir, pack), shipped]
    for place in places:
        if place.is_file():
            found = table_from_json(place.read_text("utf-8"))
            if model in ("", found.model):
                return found
    return None


def save_table(calibration: Calibration, data_dir: Path) -> Path:
    """Write an operator's own table; the path it has afterwards."""
    path = _own_table(data_dir, calibration.pack)
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
        raise ConfigurationError(f"calibration table: cannot be read ({error})") from error


def _own_table(data_dir: Path, pack: str) -> Path:
    return data_dir / "calibration" / f"{pack}.json"
