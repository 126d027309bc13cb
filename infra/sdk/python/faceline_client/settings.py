"""What both clients share: defaults, the service's URL, the client's name."""

from __future__ import annotations

import platform

__version__ = "0.1.0"

# Seconds that a method waits for a job: the service gives a held answer up after far less.
TIMEOUT_S = 300.0

# Seconds for which the service holds a look at a job that is watched.
JOB_WATCH_S = 1.0

# Seconds between two looks at a batch, which lasts minutes.
WATCH_S = 2.0


def url_of(url: str) -> str:
    """The service's URL without a slash at its end. Raises ``ValueError``."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("the service's URL begins with http:// or https://; FACE_URL names it")
    return url.rstrip("/")


def user_agent() -> str:
    return f"faceline-client/{__version__} python/{platform.python_version()}"
