"""What both clients share: defaults, the service's URL, the client's name."""

from __future__ import annotations

import platform

import httpx

__version__ = "0.1.0"

# Seconds that a method waits for a job: the service gives a held answer up after far less.
TIMEOUT_S = 300.0

# Seconds for which the service holds a look at a job that is watched.
JOB_WATCH_S = 1.0

# Seconds between two looks at a batch, which lasts minutes.
WATCH_S = 2.0


def url_of(url: str) -> str:
    """The service's URL without a slash at its end. Raises ``ValueError``."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL; FACE_URL names the service's") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(
            "the service's URL is http:// or https://, a host and perhaps a path; FACE_URL names it"
        )
    return url.rstrip("/")


def user_agent() -> str:
    return f"faceline-client/{__version__} python/{platform.python_version()}"
