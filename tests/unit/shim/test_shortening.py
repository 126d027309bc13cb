"""JSON as operators see it."""

from __future__ import annotations

from api_shim.admin.shortening import shorten


def test_what_nobody_reads_is_left_out() -> None:
    shown = shorten({
        "features": [0.5] * 512, "box": [1, 2, 3, 4], "image": "A" * 1000, "name": "Ann?",
        "fetch": ["https://pictures.example/a.jpg?token=secret&x=1", "", None],
    })
    assert shown == {
        "features": "… 512 numbers", "box": [1, 2, 3, 4], "image": "… 1000 characters",
        "name": "Ann?", "fetch": ["https://pictures.example/a.jpg?…", "", None],
    }
