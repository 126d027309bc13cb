"""JSON for people: without vectors, pictures and other values that nobody reads."""

from __future__ import annotations

from typing import Any

# Numbers of a list and characters of a text that are shown; boxes and landmarks are shorter,
# vectors and pictures longer.
MOST_NUMBERS = 24
MOST_CHARS = 600


def shorten(value: Any) -> Any:
    """A JSON value with long lists of numbers and long texts replaced by their sizes."""
    if isinstance(value, dict):
        return {name: shorten(each) for name, each in value.items()}
    if isinstance(value, str) and len(value) > MOST_CHARS:
        return f"… {len(value)} characters"
    if not isinstance(value, list):
        return value
    if len(value) > MOST_NUMBERS and all(isinstance(each, (int, float)) for each in value):
        return f"… {len(value)} numbers"
    return [shorten(each) for each in value]
