"""2,000 damaged media files end in documented errors.

The larger run is `tests.benchmarks.mutated_media`.
"""

from __future__ import annotations

from tests.benchmarks.mutated_media import straight, through_a_service
from tests.databases import ONE_DATABASE
from tests.face2_client import base64_of
from tests.stack import Stack
from tests.unit.bombs import REFUSED

STRAIGHT, SERVED = 1_700, 300


def test_damaged_files_cost_no_decode_stage() -> None:
    findings = straight(STRAIGHT)
    assert findings.wrong == []
    assert findings.outcomes.total() == STRAIGHT
    assert set(findings.outcomes) >= {"decoded", "picture_corrupt", "not_a_picture"}


@ONE_DATABASE
def test_damaged_files_cost_no_worker_and_no_envelope(stack: Stack) -> None:
    findings = through_a_service(stack, SERVED)
    assert findings.wrong == []
    assert findings.outcomes.total() == SERVED
    assert set(findings.outcomes) >= {"0", "9902"}


@ONE_DATABASE
def test_named_bombs_are_refused_in_the_envelope(stack: Stack) -> None:
    client = stack.client()
    for serial, (name, make) in enumerate(REFUSED.items()):
        answer = client.call("locate", {"image": base64_of(make()), "serial": serial})
        assert answer.status_code == 200, name
        assert answer.json()["code"] == 9902, name
