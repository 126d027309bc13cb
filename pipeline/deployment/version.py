"""The version of this code."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def program_version() -> str:
    """The installed version; "unknown" where the code is not installed."""
    try:
        return version("faceline")
    except PackageNotFoundError:
        return "unknown"
