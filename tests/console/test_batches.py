"""Batches in the console and at ``/admin``."""

from __future__ import annotations

import base64
import csv
import io
import tarfile
import uuid
import zipfile
from collections.abc import Sequence
from urllib.parse import urljoin

import pytest
import requests
from sqlalchemy import insert, update

from api_shim.admin.failure_words import words_about
from pipeline.batches.model import Batch, BatchOptions, BatchState, ItemState
from pipeline.batches.refused_pictures import record_pictures
from pipeline.batches.store import BatchStore
from pipeline.batches.submit import Submitter
from pipeline.batches.unattended import UnattendedSources, stored_key
from pipeline.database.engine import writing
from pipeline.database.schema import batch_items, batches
from pipeline.media.pictures import PictureLimits
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from pipeline.storage_keys import refused_media
from tests.batch_harness import picture
from tests.console.conftest import ConsoleClient, sign_in
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

HOSTILE = "<script>alert('ה')</script>\u202e\"😀"


def make_batch(
    stack: Stack, items: Sequence[tuple[str, ItemState, str]], *,
    state: BatchState = BatchState.DONE, source: str = "/srv/photos", unattended: bool = False,
) -> Batch:
    """A batch with items: (source name, state, reason)."""
    store = BatchStore(stack.cluster.engine)
    tenant = stack.credentials.tenant_id
    options = BatchOptions(unattended=unattended)
    made, _ = store.open(tenant, uuid.uuid4().hex, source, options)
    rows = [
        {
            "batch_id": made.id, "number": number, "tenant_id": tenant, "source_name": name,
            "name_hash": number.to_bytes(16, "big"), "name": name[:200], "state": state.value,
            "reason": reason or None, "faces": int(state is ItemState.ENROLLED),
        }
        for number, (name, state, reason) in enumerate(items, 1)
    ]
    states = [each for _, each, _ in items]
    with writing(stack.cluster.engine) as connection:
        if rows:
            connection.execute(insert(batch_items), rows)
        connection.execute(update(batches).where(batches.c.id == made.id).values(
            items=len(rows), state=state.value, exhausted=state is BatchState.DONE,
            **{each.value: states.count(each) for each in (
                ItemState.WAITING, ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED,
                ItemState.CANCELLED,
            )},
        ))
    return store.get(tenant, made.id)


MIXED = [
    (HOSTILE, ItemState.REJECTED, "no_face"),
    ("=cmd()", ItemState.REJECTED, "not_a_picture"),
    ("ada.jpg", ItemState.ENROLLED, ""),
    ("bob.jpg", ItemState.REJECTED, "no_face"),
]


def test_batches_are_listed_in_pages(idle_stack: Stack, console: ConsoleClient) -> None:
    made = [make_batch(idle_stack, []).id for _ in range(3)]
    first = console.get("/admin/batches", params={"limit": 2}).json()
    assert [each["batch_id"] for each in first["batches"]] == made[:0:-1]
    second = console.get("/admin/batches", params={"limit": 1, "before": first["next"]}).json()
    assert [each["batch_id"] for each in second["batches"]] == made[:1]
    page = console.get("/console/batches", params={"application": "stack"}).text
    assert all(f"/console/batches/{each}" in page for each in made)
    assert console.get("/console/batches", params={"application": "nobody"}).status_code == 404


def test_refused_items_with_their_reasons(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_batch(idle_stack, MIXED, source=HOSTILE)
    page = console.get(f"/console/batches/{batch.id}").text
    assert words_about("no_face").why in page
    assert "ada.jpg" not in page
    assert "<script>alert" not in page
    shown = console.get(f"/admin/batches/{batch.id}").json()
    counted = {each["reason"]: each["items"] for each in shown["reasons"]}
    assert counted == {"no_face": 2, "not_a_picture": 1}
    query = {"state": "rejected", "reason": "no_face", "limit": 1}
    first = console.get(f"/admin/batches/{batch.id}/items", params=query).json()
    assert [each["number"] for each in first["items"]] == [1]
    rest = console.get(
        f"/admin/batches/{batch.id}/items", params={**query, "after": first["next"]}
    ).json()
    assert [each["number"] for each in rest["items"]] == [4]
    by_reason = console.get(f"/console/batches/{batch.id}", params={"reason": "no_face"}).text
    assert "bob.jpg" in by_reason
    assert "=cmd()" not in by_reason


def keep_picture(stack: Stack, batch: Batch, number: int, data: bytes) -> str:
    """A picture of a refused item."""
    media, tenant = stack.cluster.media, batch.tenant_id
    key = refused_media(tenant, batch.id, "job.1", number, media.name(tenant, data))
    media.put(key, data)
    with writing(stack.cluster.engine) as connection:
        record_pictures(connection, tenant, batch.id, {number: key}, batch.created_at)
    return key


def test_a_refused_item_is_shown_to_those_who_may(
    idle_stack: Stack, console: ConsoleClient
) -> None:
    batch, other = make_batch(idle_stack, MIXED), make_batch(idle_stack, MIXED)
    keep_picture(idle_stack, batch, 1, b"somebody")
    at = f"/admin/batches/{batch.id}/items/1/picture"
    shown = console.get(at)
    assert (shown.content, shown.headers["content-type"]) == (b"somebody", "image/jpeg")
    assert shown.headers["cache-control"] == "no-store"
    assert "sandbox" in shown.headers["content-security-policy"]
    audit = AuditLog(idle_stack.cluster.engine)
    looks = [each for each in audit.page(limit=20) if each.action == "batches.picture"]
    assert (looks[0].subject, looks[0].outcome) == (f"item 1 of batch {batch.id}", "done")
    items = console.get(f"/admin/batches/{batch.id}/items").json()["items"]
    assert [each["has_picture"] for each in items] == [True, False, False, False]
    page = console.get(f"/console/batches/{batch.id}").text
    assert f'loading="lazy" width="112" height="112" src="{at}"' in page
    assert page.count("/picture") == 1
    for wrong in (f"{batch.id}/items/2", f"{other.id}/items/1", f"{'0' * 32}/items/1"):
        assert console.get(f"/admin/batches/{wrong}/picture").status_code == 404

    blind = sign_in(idle_stack, sees_faces=False)
    assert blind.get(at).status_code == 403
    page = blind.get(f"/console/batches/{batch.id}").text
    assert "/picture" not in page
    assert "may not see pictures" in page
    credentials = idle_stack.credentials
    assert requests.get(
        urljoin(idle_stack.url, at), headers={"X-API-Key": credentials.api_key}, timeout=TIMEOUT_S,
    ).status_code == 401


def test_pictures_of_a_batch_are_dropped(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_batch(idle_stack, MIXED)
    keys = [keep_picture(idle_stack, batch, number, b"somebody") for number in (1, 4)]
    path = f"/console/batches/{batch.id}"
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    assert "Delete these pictures" not in viewer.get(path).text
    assert viewer.submit(path, action="drop").status_code == 403
    assert "Delete these pictures" in console.get(path).text
    assert console.submit(path, action="drop").status_code == 303
    assert not any(map(idle_stack.cluster.media.exists, keys))
    assert "No picture of these items is kept" in console.get(path).text
    assert console.get(f"/admin/batches/{batch.id}/items/1/picture").status_code == 404
    again = console.request("DELETE", f"/admin/batches/{batch.id}/pictures")
    assert again.json() == {"deleted": 0}


def test_the_report_starts_no_formula(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_batch(idle_stack, MIXED)
    answer = console.get(f"/admin/batches/{batch.id}/report")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["source_name"] for row in rows] == [HOSTILE, "'=cmd()", "ada.jpg", "bob.jpg"]
    lines = console.get(f"/admin/batches/{batch.id}/report", params={"format": "jsonl"}).text
    assert len(lines.splitlines()) == len(MIXED)


def test_a_batch_is_cancelled_and_retried(idle_stack: Stack, console: ConsoleClient) -> None:
    batch = make_batch(
        idle_stack, MIXED, state=BatchState.READING, source="prefix:p", unattended=True
    )
    path = f"/console/batches/{batch.id}"
    assert "Cancel the batch" in console.get(path).text
    assert console.submit(path, action="cancel").status_code == 303
    assert BatchStore(idle_stack.cluster.engine).get(None, batch.id).state is BatchState.CANCELLED
    assert console.submit(path, action="retry", reason="no_face").status_code == 303
    items = BatchStore(idle_stack.cluster.engine).items(batch.id)
    assert [each.number for each in items if each.state is ItemState.AGAIN] == [1, 4]
    assert console.submit(path, action="burn").status_code == 400


def test_a_commands_batch_is_retried_by_the_command(
    idle_stack: Stack, console: ConsoleClient
) -> None:
    batch = make_batch(idle_stack, MIXED)
    answer = console.request("POST", f"/admin/batches/{batch.id}/retry", json={})
    assert answer.status_code == 409
    assert "faceline batches retry" in answer.json()["message"]


def test_a_viewer_changes_nothing(idle_stack: Stack) -> None:
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    batch = make_batch(idle_stack, MIXED, state=BatchState.READING)
    path = f"/console/batches/{batch.id}"
    assert "Cancel the batch" not in viewer.get(path).text
    assert viewer.submit(path, action="cancel").status_code == 403


@pytest.mark.parametrize("batch_id", ["0" * 32, "x", "../apps"])
def test_no_such_batch(console: ConsoleClient, batch_id: str) -> None:
    assert console.get(f"/console/batches/{batch_id}").status_code in (400, 404)


# Starting ------------------------------------------------------------------------------


def _zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _read_source(stack: Stack, batch_id: str) -> dict[str, tuple[str, str]]:
    """What upkeep does with a batch: its items as name to (person, reason or state)."""
    cluster = stack.cluster
    store = BatchStore(cluster.engine)
    sources = UnattendedSources(cluster.settings, cluster.media, store)
    limits = PictureLimits.from_settings(cluster.settings)
    submitter = Submitter(store, cluster.media, limits, lambda _jobs: None)
    batch = store.get(None, batch_id)
    assert submitter.run(batch, sources.open(batch)).exhausted
    sources.close(batch)
    return {
        each.source_name: (each.about.name, each.reason or each.state.value)
        for each in store.items(batch_id)
    }


def _start(console: ConsoleClient, files: list[tuple[str, bytes]], **fields: str) -> str:
    answer = console.submit(
        "/console/batches/new", files=[("files", each) for each in files],
        **{"application": "stack", "source": "upload", **fields},
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rsplit("/", 1)[-1]


def test_photos_are_a_batch(idle_stack: Stack, console: ConsoleClient) -> None:
    photos = [("ada.png", picture("ada")), ("../x/image.png", picture("bob")),
              ("image.png", picture("cy")), ("notes.txt", b"no picture")]
    made = _start(console, photos, collection="staff", create_collection="on")
    assert _read_source(idle_stack, made) == {
        "ada.png": ("ada", "waiting"), "image.png": ("image", "waiting"),
        "image (3).png": ("image (3)", "waiting"), "notes.txt": ("notes", "not_a_picture"),
    }
    shown = console.get(f"/admin/batches/{made}").json()
    assert (shown["source_kind"], shown["options"]["collection"]) == ("upload", "staff")
    items = console.get(f"/admin/batches/{made}/items").json()["items"]
    assert {each["collection"] for each in items} == {"staff"}


def test_an_archive_is_a_batch_and_goes_once_it_was_read(
    idle_stack: Stack, console: ConsoleClient
) -> None:
    packed = _zipped(**{"ada/1.png": picture("a1"), ".DS_Store": b"litter", "zoe/1.png": b""})
    made = _start(console, [("people.zip", packed)], layout="person")
    store, media = BatchStore(idle_stack.cluster.engine), idle_stack.cluster.media
    assert media.exists(stored_key(store.get(None, made)))
    found = _read_source(idle_stack, made)
    assert found == {"ada/1.png": ("ada", "waiting"), "zoe/1.png": ("zoe", "empty")}
    assert not media.exists(stored_key(store.get(None, made)))
    console.submit(f"/console/batches/{made}", action="cancel")
    assert "Try refused" not in console.get(f"/console/batches/{made}").text
    answer = console.request("POST", f"/admin/batches/{made}/retry", json={})
    assert answer.status_code == 409


def test_a_damaged_archive_is_told(idle_stack: Stack, console: ConsoleClient) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("ada.png")
        info.size = len(picture("ada"))
        archive.addfile(info, io.BytesIO(picture("ada")))
    made = _start(console, [("people.tar.gz", packed.getvalue()[:300])])
    found = _read_source(idle_stack, made)
    assert "archive_damaged" in {reason for _, reason in found.values()}


@pytest.mark.parametrize("files", [
    [("a.zip", _zipped(x=b"1")), ("b.png", picture("b"))],
    [("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600))],
    [],
], ids=["an archive beside a photo", "another archive", "nothing"])
def test_what_cannot_be_a_batch(
    console: ConsoleClient, files: list[tuple[str, bytes]]
) -> None:
    fields = {"application": "stack", "source": "upload"}
    sent = [("files", each) for each in files] or [("files", ("", b""))]
    assert console.submit("/console/batches/new", files=sent, **fields).status_code == 400


def test_a_batch_by_json(idle_stack: Stack, console: ConsoleClient) -> None:
    data = base64.b64encode(picture("json")).decode()
    given = {"application": "stack", "files": [{"name": "json.png", "data": data}]}
    made = console.request("POST", "/admin/batches", json=given).json()["batch_id"]
    assert _read_source(idle_stack, made) == {"json.png": ("json", "waiting")}
    for wrong in ({"files": None}, {"prefix": "x"}, {"collection": "nowhere"},
                  {"application": "nobody"}):
        answer = console.request("POST", "/admin/batches", json={**given, **wrong})
        assert answer.status_code in (400, 404), wrong


def test_without_a_bucket_only_uploads(console: ConsoleClient) -> None:
    page = console.get("/console/batches/new").text
    assert 'name="prefix"' not in page
    assert "30 MB" in page
    given = {"application": "stack", "prefix": "staff/"}
    assert console.request("POST", "/admin/batches", json=given).status_code == 403
