"""The ``Prefer`` header (RFC 7240), as far as this service supports it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?")


@dataclass(frozen=True, slots=True)
class Preferences:
    """``respond_async``: answer 202 at once. ``wait_s``: hold the response no longer."""

    respond_async: bool = False
    wait_s: float | None = None


def read_preferences(header: str) -> Preferences:
    """Unknown preferences are ignored, as the RFC requires."""
    respond_async, wait_s = False, None
    for part in header.split(","):
        preference = part.partition(";")[0].strip().lower()
        waiting = _WAIT.fullmatch(preference)
        if preference == "respond-async":
            respond_async = True
        elif waiting and wait_s is None:
            wait_s = float(waiting[1])
    return Preferences(respond_async, wait_s)
