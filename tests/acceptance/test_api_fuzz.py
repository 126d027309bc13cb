"""Made-up calls of every operation: no error of the service's, no answer that the OpenAPI
document does not describe, nothing of another tenant's.

``python -m tests.benchmarks.api_fuzz`` makes more of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.api_fuzz import Fuzz, succeeded
from tests.databases import ONE_DATABASE
from tests.face2_client import Json
from tests.stack import Stack

SEED = 20260704

# Calls of each operation: on SQLite, and where only the database differs.
EXAMPLES = {"sqlite": 10, "postgresql": 3}

# Operations that need a clip, which takes seconds, or a bucket to import from.
NOT_REACHED = {
    "POST /api/living", "GET /jobs/{job_id}/evidence", "POST /jobs/{job_id}/evidence",
    "POST /batches", "POST /batches/{batch_id}/retry",
}

pytestmark = pytest.mark.heavy

MARK = "OfTheOtherTenant"


@pytest.fixture(scope="module")
def photos(test_data: Path) -> Path:
    return test_data / "photos"


@ONE_DATABASE
def test_every_answer_is_described(stack: Stack, photos: Path, backend: str) -> None:
    fuzz = Fuzz(stack, photos, f"fuzz-{backend}")
    names = []
    for name, run in fuzz.operations():
        run(EXAMPLES[backend], SEED)
        names.append(name)
    if backend == "sqlite":
        reached = {name for (name, verdict) in fuzz.seen if succeeded(verdict)}
        assert reached == set(names) - NOT_REACHED, "some are stopped before they do anything"


def test_another_tenants_things_are_nowhere(stack: Stack, photos: Path, backend: str) -> None:
    told = []

    def listen(name: str, content: bytes) -> None:
        assert MARK.encode() not in content, name
        told.append(name)

    victim = Fuzz(stack, photos, f"victim-{backend}")
    stranger = Fuzz(stack, photos, f"stranger-{backend}", victim, listen)
    victim.known()
    key = {"X-API-Key": victim.tenant.api_key}
    group = {"groupId": "g", "groupName": MARK, "groupType": MARK}
    requests.put(f"{stack.url}/api/faceGroups", json=group, headers=key, timeout=30)
    before = belongings(victim)
    for _, run in stranger.operations():
        run(EXAMPLES[backend] // 3, SEED)
        assert belongings(victim) == before
    assert told
    assert all(
        not succeeded(verdict)
        for name, verdict in stranger.seen
        if "{face_token}" in name or "{job_id}" in name or "{batch_id}" in name
    )


def belongings(fuzz: Fuzz) -> list[Json]:
    """All that a tenant has."""
    key = {"X-API-Key": fuzz.tenant.api_key}
    paths = ("/api/faces", "/api/faceGroups", "/api/faceGroups/g?pageOffset=0&pageSize=1000")
    return [
        requests.get(fuzz.url + path, headers=key, timeout=30).json()["data"] for path in paths
    ]
