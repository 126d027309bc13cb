"""Why a picture was not fetched: for the log, never for who sent the URL."""

from __future__ import annotations


class FetchRefused(Exception):
    """The picture is not fetched; the message says why."""


class FetchTimedOut(Exception):
    """The deadline has passed; the message says over what."""


class FetchTooLarge(Exception):
    """The body is larger than the limit."""
