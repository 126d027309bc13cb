"""The message's form: it decodes to its own content, and anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import InvalidParameter
from workers.messages import StageMessage, decode, encode

JOB = "5f0c" * 8


def test_round_trip_through_json() -> None:
    message = json.loads(json.dumps(encode(JOB, "detect")))
    assert message == {"v": 1, "job": JOB, "stage": "detect"}
    assert decode(message) == StageMessage(v=1, job=JOB, stage="detect")


@pytest.mark.parametrize(
    "message",
    [
        {"v": 2, "job": JOB, "stage": "decode"},
        {"v": 0, "job": JOB, "stage": "decode"},
        {"v": "1", "job": JOB, "stage": "decode"},
        {"v": True, "job": JOB, "stage": "decode"},
        {"v": 1, "job": JOB},
        {"v": 1, "stage": "decode"},
        {"job": JOB, "stage": "decode"},
        {"v": 1, "job": 7, "stage": "decode"},
        {"v": 1, "job": JOB, "stage": None},
        {"v": 1, "job": JOB, "stage": "decode", "picture": "iVBORw0KGgo="},
        {},
        [],
        None,
        "decode",
        b"\x80\x04N.",
        [1, JOB, "decode"],
    ],
)
def test_anything_else_is_refused(message: Any) -> None:
    with pytest.raises(InvalidParameter):
        decode(message)
