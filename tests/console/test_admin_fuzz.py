"""Made-up calls of every operation of ``/admin``: no error of the service's, and no answer that the
OpenAPI document does not describe."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.openapi import from_dict

from api_shim.admin.sessions import CSRF_HEADER, SESSION_COOKIE
from tests.api_fuzz import CHECKS, described_operations
from tests.console.conftest import sign_in
from tests.databases import ONE_DATABASE
from tests.stack import Stack

SEED = 20261130

EXAMPLES = 8

# They fetch files from the network.
LEFT_OUT: frozenset[str] = frozenset()

MODES = [GenerationMode.POSITIVE] * 3 + [GenerationMode.NEGATIVE]

pytestmark = pytest.mark.heavy


@ONE_DATABASE
def test_every_answer_is_described(idle_stack: Stack) -> None:
    idle_stack.add_tenant("fuzzed")
    document = requests.get(f"{idle_stack.url}/openapi.json", timeout=30).json()
    operations = [
        each for each in described_operations(
            from_dict(document), lambda path: path.startswith("/admin/")
        )
        if each.label not in LEFT_OUT
    ]
    answered = {(each.label, status) for each in operations for status in answers(idle_stack, each)}
    assert {label for label, _ in answered} == {each.label for each in operations}
    assert any(status == 200 for _, status in answered)


def answers(stack: Stack, operation: Any) -> set[int]:
    """The statuses of made-up calls of an operation."""
    found = set()

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def calls(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from(MODES))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        for place in (case.path_parameters, case.query, case.body):
            name_application(place, data)
        client = sign_in(stack)  # an earlier call may have ended the session
        response = case.call(
            base_url=stack.url, timeout=60, headers={CSRF_HEADER: client.csrf},
            cookies={SESSION_COOKIE: client.cookies[SESSION_COOKIE]},
        )
        found.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    calls()
    return found


def name_application(values: Any, data: st.DataObject) -> None:
    """Mostly let a call work on an application that there is."""
    if isinstance(values, dict) and "application" in values and data.draw(st.booleans()):
        values["application"] = "fuzzed"
