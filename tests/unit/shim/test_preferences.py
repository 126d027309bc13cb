"""The Prefer header."""

from __future__ import annotations

import pytest

from api_shim.requests import Preferences, read_preferences


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("", Preferences()),
        ("respond-async", Preferences(respond_async=True)),
        ("Respond-Async; x=1, wait=5", Preferences(respond_async=True, wait_s=5)),
        ("wait=5", Preferences(wait_s=5)),
        ('wait="5"', Preferences(wait_s=5)),
        ("wait = 0", Preferences(wait_s=0)),
        ("wait=5, wait=9", Preferences(wait_s=5)),
        ("handling=lenient,wait=1", Preferences(wait_s=1)),
        ("wait=-1", Preferences()),
        ("wait=1.5", Preferences()),
        ("wait=99999999999", Preferences()),
        ("wait", Preferences()),
        (",;=,\xff", Preferences()),
    ],
)
def test_preferences(header: str, meant: Preferences) -> None:
    assert read_preferences(header) == meant
