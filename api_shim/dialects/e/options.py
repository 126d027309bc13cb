"""What an application can choose of document e, beside its limits."""

from __future__ import annotations

from pipeline.accounts.app_settings import AppSetting
from pipeline.accounts.model import Tenant
from pipeline.operations import LOCATE, VERIFY
from pipeline.types import JsonObject

ANSWER, REFUSE = "answer", "refuse"
REPEATS = AppSetting(
    "e_repeats", (ANSWER, REFUSE),
    "The same signed request again: answered with the first answer, or refused (9801).",
)

ONE, ANY = "one", "any"
PATHS = AppSetting(
    "e_paths", (ONE, ANY),
    "Paths that one signed request serves: the first it came to (9801 at another), or any.",
)

TOP_RIGHT, LEFT_TOP = "top_right", "left_top"
LOCATIONS = AppSetting(
    "e_locations", (TOP_RIGHT, LEFT_TOP),
    "The order in `locations`: top, right, bottom, left, or left, top, right, bottom.",
)

REFUSED, NO_MATCH = "9903", "no_match"
NO_FACE = AppSetting(
    "e_no_face", (REFUSED, NO_MATCH),
    "Verify with a picture without a face: code 9903, or code 0 with no match and score 0.0.",
)

DISTANCE, COSINE = "distance", "cosine"
SCORE = AppSetting(
    "e_score", (DISTANCE, COSINE),
    "The score of verify: the calibrated distance, a match below 0.6, or (1-cos)/2, below 0.365.",
)

BAD_SIGNATURE, UNKNOWN = "9800", "9805"
UNKNOWN_APP = AppSetting(
    "e_unknown_app", (BAD_SIGNATURE, UNKNOWN),
    "The code for an appId that no application has; holds for the service once one chooses it.",
)

APP_SETTINGS = (REPEATS, PATHS, LOCATIONS, NO_FACE, SCORE, UNKNOWN_APP)

PROFILES = {
    "face2-vendor": {
        PATHS.name: ANY, LOCATIONS.name: LEFT_TOP, NO_FACE.name: NO_MATCH, SCORE.name: COSINE,
        UNKNOWN_APP.name: UNKNOWN,
    },
}
"""``face2-vendor``: as the vendor's published server answers, where that differs from the
document's field tables."""

_OF_JOBS = {LOCATE.operation: {"locations": LOCATIONS}, VERIFY.operation: {
    "no_face": NO_FACE, "score": SCORE,
}}


def params_of(operation: str, tenant: Tenant) -> JsonObject:
    """The tenant's choices that the answer to a job of ``operation`` depends on, as parameters of
    the job."""
    return {name: each.of(tenant) for name, each in _OF_JOBS.get(operation, {}).items()}
