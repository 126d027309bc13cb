"""What an application can choose of document e, beside its limits."""

from __future__ import annotations

from pipeline.accounts.app_settings import AppSetting

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
