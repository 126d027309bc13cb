"""``faceline calibrate``: what a pack's cosines are worth, from labelled faces."""

from __future__ import annotations


def calibrate() -> None:
    """Make the calibration table of a pack from labelled faces."""
