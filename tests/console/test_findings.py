"""The review queue of findings, by HTTP and in a browser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sqlalchemy import select

from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.findings import open_findings
from pipeline.batches.model import Batch
from pipeline.database.engine import reading
from pipeline.database.schema import faces
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from tests.console.conftest import ConsoleClient, sign_in
from tests.duplicates_gallery import Gallery
from tests.search_harness import TABLE, face_of
from tests.stack import Stack

HOSTILE = "<script>alert('ה')</script>\u202e\"😀"


def make_findings(stack: Stack, tenant: str) -> Batch:
    """A searched batch of an application of its own: one person under two names, two people under
    one, and a face without a name."""
    credentials = stack.add_tenant(tenant)
    gallery = Gallery(stack.cluster.engine, credentials.tenant_id, TABLE)
    batch = gallery.batch()
    people = [("Bob", 1, 0), (HOSTILE, 1, 1), ("Ann", 2, 0), ("Ann", 2, 1), ("Ann", 3, 0),
              ("Cy", 4, 0), ("", 4, 1)]
    gallery.fill(
        [(name, np.asarray(face_of(person, photo))) for name, person, photo in people], batch
    )
    gallery.search(batch)
    return batch


def names_of(stack: Stack, batch: Batch) -> list[str]:
    with reading(stack.cluster.engine) as connection:
        return sorted(connection.execute(
            select(faces.c.name).where(faces.c.tenant_id == batch.tenant_id)
        ).scalars())


def test_the_queue_is_settled_by_forms(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_findings(idle_stack, "findings")
    path = f"/console/batches/{batch.id}/findings"
    assert path in console.get(f"/console/batches/{batch.id}").text
    first, second, third = open_findings(idle_stack.cluster.engine, batch.id)
    page = console.get(path).text
    assert "A face that does not match its name?" in page
    assert 'value="Ann (2)"' in page
    answer = console.submit(path, finding=first.id, action="split", name="Zoe")
    assert (answer.status_code, "undo=" in answer.headers["location"]) == (303, True)
    assert "Zoe" in names_of(idle_stack, batch)
    page = console.get(answer.headers["location"]).text
    assert "<script>alert" not in page
    assert "One person under two names?" in page
    change = re.search(r'name="undo" value="([0-9a-f]{32})"', page)
    assert change is not None
    console.submit(path, undo=change[1])
    assert "Zoe" not in names_of(idle_stack, batch)
    console.submit(path, finding=first.id, action="dismiss")
    console.submit(path, finding=second.id, action="merge", side="face")
    console.submit(path, finding=third.id, action="merge", side="face")
    assert open_findings(idle_stack.cluster.engine, batch.id) == []
    assert "Nothing to review" in console.get(path).text
    assert names_of(idle_stack, batch).count("Cy") == 2
    assert len(set(names_of(idle_stack, batch))) == 3


def test_the_same_at_admin(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_findings(idle_stack, "findings at admin")
    path = f"/admin/batches/{batch.id}/findings"
    page = console.get(path, params={"kind": "two_names"}).json()
    (found,) = page["findings"]
    assert {found["face"]["name"], found["other"]["name"]} == {"Bob", HOSTILE}
    assert page["listed"] == {"odd_face": 1, "two_names": 1, "unnamed": 1}
    whole = console.get(path, params={"limit": 2}).json()
    rest = console.get(path, params={"after": whole["next"]}).json()
    assert [each["kind"] for each in (*whole["findings"], *rest["findings"])] == [
        "odd_face", "two_names", "unnamed"
    ]
    given = {"action": "dismiss"}
    done = console.request("POST", f"{path}/{found['id']}", json=given).json()
    assert console.request("POST", f"{path}/{found['id']}", json=given).status_code == 409
    undone = console.request(
        "POST", f"/admin/batches/{batch.id}/undo", json={"change_id": done["change_id"]}
    )
    assert undone.json() == {"restored": 1}
    assert console.request("POST", f"{path}/1234567", json=given).status_code == 404
    for wrong in ({"action": "burn"}, {"action": "merge", "side": "both"}, {}):
        assert console.request("POST", f"{path}/{found['id']}", json=wrong).status_code == 400
    subject = f"dismiss finding {found['id']} (face) of batch {batch.id}"
    outcomes = [
        each.outcome for each in AuditLog(idle_stack.cluster.engine).page(limit=20)
        if (each.action, each.subject) == ("findings.settle", subject)
    ]
    assert outcomes == ["conflict", "done"]


def test_who_may_only_look(idle_stack: Stack) -> None:
    batch = make_findings(idle_stack, "findings of a viewer")
    viewer = sign_in(idle_stack, OperatorRole.VIEWER, sees_faces=False)
    path = f"/console/batches/{batch.id}/findings"
    page = viewer.get(path).text
    assert "Bob" not in page.split("Next in the queue")[0]
    assert "cutout" not in page
    assert 'name="action"' not in page
    (found, *_) = open_findings(idle_stack.cluster.engine, batch.id, kind=FindingKind.TWO_NAMES)
    assert viewer.submit(path, finding=found.id, action="merge").status_code == 403
    assert names_of(idle_stack, batch).count("Bob") == 1


@pytest.mark.parametrize("after", ["x", "two_names:", "two_names:1:2", "':1"])
def test_positions_that_are_none(
    idle_stack: Stack, console: ConsoleClient, after: str
) -> None:
    batch = make_findings(idle_stack, f"findings after {after}")
    path = f"/console/batches/{batch.id}/findings"
    assert console.get(path, params={"after": after}).status_code == 400
