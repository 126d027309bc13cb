"""Calibration of the passive score: from what anti-spoof models give to a share of live faces.

A calibrated score is the share of live faces among faces with this score when as many live ones
as spoofs are presented: at 0.5 both are equally likely. One logistic function of the models'
log-odds maps one to the other.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pipeline.errors import ConfigurationError
from pipeline.sessions.base import ModelTask, PackInfo

# Scores nearer to 0 and 1 than this are taken for this near: log-odds of 16.
_NEAREST = 1e-7


@dataclass(frozen=True, slots=True)
class PassiveCalibration:
    """The mapping for the anti-spoof models with the SHA-256 ``models``.

    ``centre`` is the models' log-odds at which the score is 0.5, ``slope`` how fast those of the
    score rise there. ``people`` and ``spoofs`` count the live people and the presentations that
    it was fitted to, ``origin`` says which. Raises ``ConfigurationError`` for a mapping that
    does not rise.
    """

    models: tuple[str, ...] = ()
    slope: float = 1.0
    centre: float = 0.0
    people: int = 0
    spoofs: int = 0
    origin: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and 0 < self.slope < math.inf):
            raise ConfigurationError("passive calibration: the score must rise with the models'")

    def score(self, raw: float) -> float:
        """The calibrated score of the models' score ``raw``, both 0 to 1."""
        return 0.5 + 0.5 * math.tanh(0.5 * self.slope * (log_odds(raw) - self.centre))


UNCALIBRATED = PassiveCalibration()
"""Leaves the models' score as it is."""


def log_odds(score: float) -> float:
    """Of a score, 0 to 1; finite at both ends."""
    share = min(max(score, _NEAREST), 1.0 - _NEAREST)
    return math.log(share / (1.0 - share))


def passive_calibration(info: PackInfo) -> PassiveCalibration:
    """The shipped mapping for a pack's anti-spoof models; ``UNCALIBRATED`` for other models than
    those that it was fitted to. Raises ``ConfigurationError``."""
    models = tuple(file.sha256 for file in info.files if file.task is ModelTask.ANTI_SPOOF)
    return _shipped(info.name, models)


@cache
def _shipped(pack: str, models: tuple[str, ...]) -> PassiveCalibration:
    path = resources.files("pipeline.calibration") / "tables" / f"{pack}.passive.json"
    if not path.is_file():
        return UNCALIBRATED
    fields = json.loads(path.read_text("utf-8"))
    found = PassiveCalibration(**{**fields, "models": tuple(fields["models"])})
    return found if sorted(found.models) == sorted(models) else UNCALIBRATED
