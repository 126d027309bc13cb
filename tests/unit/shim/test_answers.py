"""Every error has an answer that the OpenAPI document describes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import jsonschema_rs
import pytest

from api_shim.dialects.a import envelope as a_envelope
from api_shim.dialects.b import envelope as b_envelope
from api_shim.dialects.c import envelope as c_envelope
from api_shim.dialects.d import envelope as d_envelope
from api_shim.dialects.e import envelope as e_envelope
from api_shim.dialects.registry import load_dialects, make_dialects
from api_shim.requests import Call, Reply
from pipeline import errors
from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.jobs.model import Job
from tests.unit.shim.rows import cancelled, every_error, failed

REQUEST = "20260101000000" + "0" * 32

REFUSALS: dict[str, Callable[[Exception], Reply]] = {
    "a": a_envelope.refusal,
    "b": b_envelope.refusal,
    "c": lambda error: c_envelope.refusal(error, REQUEST),
    "d": d_envelope.refusal,
    "e": lambda error: e_envelope.refusal("app", error, REQUEST, 0.0),
}

OUTCOMES: dict[str, Callable[[Job], Reply]] = {
    "a": a_envelope.outcome,
    "b": lambda job: b_envelope.outcome(job, {}),
    "c": c_envelope.outcome,
    "d": d_envelope.outcome,
    "e": e_envelope.outcome,
}


ENVELOPES = {
    "a": a_envelope, "b": b_envelope, "c": c_envelope, "d": d_envelope, "e": e_envelope,
}

ENDPOINTS = {dialect.letter: dialect.endpoints for dialect in load_dialects()}

KINDS = [
    *(kind() for kind in every_error()),
    errors.BadQuality("blur"), errors.ChallengeUnusable("used"),
]


def check(letter: str, reply: Reply) -> None:
    for endpoint in ENDPOINTS[letter]:
        described = ENVELOPES[letter].responses(endpoint)
        assert str(reply.status) in described, reply
        response = described[str(reply.status)]
        schema = response["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, json.loads(reply.body))
        required = {name for name, header in response["headers"].items() if header["required"]}
        assert required <= {*reply.headers, "X-Request-Id"}


@pytest.mark.parametrize("letter", REFUSALS)
def test_refusals(letter: str) -> None:
    for error in (*KINDS, ValueError("not ours")):
        check(letter, REFUSALS[letter](error))
        if isinstance(error, FaceError):
            error.picture = 1
            check(letter, REFUSALS[letter](error))
            error.picture = None


@pytest.mark.parametrize("letter", OUTCOMES)
def test_jobs_that_failed(letter: str) -> None:
    for error in KINDS:
        if isinstance(error, (errors.LimitReached, errors.Overloaded)):
            continue  # with these no job begins
        job = failed(type(error))
        check(letter, OUTCOMES[letter](replace(job, error={**(job.error or {}), "picture": 0})))
    check(letter, OUTCOMES[letter](cancelled()))


@pytest.mark.parametrize(
    ("letter", "code"),
    [("b", "104900"), ("c", "INVALID_ARGUMENT"), ("d", "INVALID_REQUEST"), ("e", "9801")],
)
def test_a_wrong_method(letter: str, code: str) -> None:
    records: Any = MagicMock()
    dialect = make_dialects(Settings(), records)[letter]
    reply = dialect.render_wrong_method(Call("PUT", "/", "", {}, b"", REQUEST), "GET, POST")
    assert (reply.status, reply.headers) == (405, {"Allow": "GET, POST"})
    assert code in reply.body.decode()
    assert "the method must be GET, POST" in reply.body.decode()
