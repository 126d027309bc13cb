"""Why a download failed: for the log, never for the client."""

from __future__ import annotations


class FetchRefused(Exception):
    """The download is refused; the message says why."""


class FetchTimedOut(Exception):
    """The deadline has passed; the message names the step."""


class FetchTooLarge(Exception):
    """The body is larger than the limit."""
