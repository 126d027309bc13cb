"""The pages and operations about galleries: faces, collections, deletions, enrolment, search."""

from __future__ import annotations

import itertools
import re
from typing import Any, cast

import cv2
import numpy as np
import pytest
from sqlalchemy import update

from api_shim.admin.failure_words import words_about
from pipeline.database.engine import writing
from pipeline.database.schema import jobs
from pipeline.encryption.data_keys import open_keys
from pipeline.execution.results import enrolled_face_json
from pipeline.media.directory import DirectoryStore
from pipeline.media.open import open_media
from pipeline.metering.limits import Limit
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from pipeline.storage_keys import image_media, is_encrypted
from tests.console.conftest import ConsoleClient, sign_in
from tests.face2_client import base64_of
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from tests.stack import Stack

HOSTILE = '<script>alert("x")</script> \u202e\U0001f600 O\'Neil'

NUMBERS = itertools.count()


@pytest.fixture
def application(idle_stack: Stack) -> tuple[str, TenantGallery]:
    """An application with an empty gallery, and the gallery."""
    name = f"gallery {next(NUMBERS)} <b>"
    tenant = idle_stack.add_tenant(name).tenant_id
    cluster = idle_stack.cluster
    media = cast("DirectoryStore", cluster.media)
    return name, TenantGallery(cluster.engine, tenant, media, Clock())


App = tuple[str, TenantGallery]

Fields = dict[str, Any]


def ids(page: str) -> list[int]:
    """The faces that a page links to, in order and each once."""
    found = re.findall(r'href="/console/gallery/faces/(\d+)\?', page)
    return list(dict.fromkeys(map(int, found)))


def test_faces_are_listed_by_key_and_found_by_name(
    console: ConsoleClient, application: App
) -> None:
    name, gallery = application
    faces = [gallery.add(f"p{n}", name=each) for n, each in enumerate(
        ("Ann", "ann lee", "Bob", "ANNA", HOSTILE)
    )]
    newest = [each.id for each in reversed(faces)]
    at = {"application": name}
    page = console.get("/console/gallery", params=at)
    assert ids(page.text) == newest
    assert "<script>alert" not in page.text
    first = console.get("/console/gallery", params={**at, "limit": "2"}).text
    (after,) = re.findall(r"after=(\d+)", first)
    second = console.get("/console/gallery", params={**at, "limit": "2", "after": after}).text
    assert ids(first) + ids(second) == newest[:4]
    found = console.get("/admin/gallery/faces", params={**at, "name": "ann", "limit": "2"}).json()
    rest = console.get(
        "/admin/gallery/faces", params={**at, "name": "ann", "limit": "2", "after": found["next"]}
    ).json()
    shown = [each["name"] for each in (*found["faces"], *rest["faces"])]
    assert shown == ["ANNA", "Ann", "ann lee"]
    assert rest["next"] is None
    for known in (faces[2].person_id, faces[2].face_token, faces[2].image_id, str(faces[2].id)):
        one = console.get("/admin/gallery/faces", params={**at, "name": known}).json()
        assert [each["id"] for each in one["faces"]] == [faces[2].id]
    assert console.get("/console/gallery", params={**at, "after": "x"}).status_code == 400


def test_a_collection_limits_the_list(console: ConsoleClient, application: App) -> None:
    name, gallery = application
    gallery.groups.create(gallery.tenant, "guests", "Guests")
    inside = gallery.add("a", name="Ann", collections=("guests",))
    gallery.add("b", name="Ann")
    for wanted in ({}, {"name": "Ann"}):
        query = {"application": name, "collection": "guests", **wanted}
        assert ids(console.get("/console/gallery", params=query).text) == [inside.id]
    listed = console.get("/admin/collections", params={"application": name}).json()
    assert [(each["key"], each["faces"]) for each in listed["collections"]] == [
        ("default", 0), ("guests", 1)
    ]
    unknown = {"application": name, "collection": "nobody"}
    assert console.get("/console/gallery", params=unknown).status_code == 400


def test_the_page_of_a_face_shows_what_is_known(console: ConsoleClient, application: App) -> None:
    name, gallery = application
    one, two = gallery.enrol("both", count=2, name=HOSTILE, description="at <the> door").faces
    page = console.get(f"/console/gallery/faces/{one.id}", params={"application": name})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert ids(page.text) == [two.id]
    known = console.get(f"/admin/gallery/faces/{one.id}", params={"application": name}).json()
    assert known["box"] == [1.5, 2, 30.25, 40]
    assert (known["width"], known["height"], known["name"]) == (200, 100, HOSTILE)
    assert [each["id"] for each in known["on_picture"]] == [two.id]


def test_pictures_are_shown_to_those_who_may_and_noted(
    idle_stack: Stack, application: App
) -> None:
    name, gallery = application
    face = gallery.add("word", name="Ann")
    seeing = sign_in(idle_stack, OperatorRole.VIEWER)
    blind = sign_in(idle_stack, sees_faces=False)
    for part, content in (("cutout", b"word-0"), ("original", b"word")):
        path = f"/admin/gallery/faces/{face.id}/{part}"
        shown = seeing.get(path, params={"application": name})
        assert shown.content == content
        assert shown.headers["cache-control"] == "no-store"
        assert "sandbox" in shown.headers["content-security-policy"]
        assert blind.get(path, params={"application": name}).status_code == 403
        last, before = AuditLog(idle_stack.cluster.engine).page(limit=2)
        assert (before.action, before.subject, before.outcome) == (
            f"gallery.{part}", f"face {face.id}", "done"
        )
        assert (last.action, last.application, last.outcome) == (
            f"gallery.{part}", name, "not_permitted"
        )
    for path in ("/console/gallery", f"/console/gallery/faces/{face.id}"):
        page = blind.get(path, params={"application": name}).text
        assert "Ann" in page
        assert "<img src=\"/admin" not in page
        assert "may not see pictures" in page


def test_another_application_sees_nothing_of_a_face(
    idle_stack: Stack, console: ConsoleClient, application: App
) -> None:
    _, gallery = application
    face = gallery.add("mine", name="Ann")
    other = f"other {next(NUMBERS)}"
    idle_stack.add_tenant(other)
    for path in ("", "/cutout", "/original"):
        at = f"/admin/gallery/faces/{face.id}{path}"
        assert console.get(at, params={"application": other}).status_code == 404
        assert console.get(at, params={"application": "no such"}).status_code == 404
        assert console.get(at).status_code == 400
    tried = AuditLog(gallery.engine).page(limit=10)
    assert any(
        (each.action, each.application, each.outcome)
        == ("gallery.cutout", other, "face_not_found") for each in tried
    )
    page = console.get(f"/console/gallery/faces/{face.id}", params={"application": other})
    assert page.status_code == 404
    assert "Ann" not in page.text
    for path, changes in (
        ("/admin/gallery/delete", {"faces": [face.id]}),
        ("/admin/gallery/move", {"faces": [face.id], "into": ["default"]}),
    ):
        refused = console.post(path, json={"application": other, **changes})
        assert refused.status_code == 404
    change = {"application": other, "name": "Eve"}
    assert console.patch(f"/admin/gallery/faces/{face.id}", json=change).status_code == 404
    assert gallery.faces.by_id(gallery.tenant, face.id).name == "Ann"


def test_a_viewer_changes_nothing(idle_stack: Stack, application: App) -> None:
    name, gallery = application
    face = gallery.add("word", name="Ann")
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    page = viewer.get("/console/gallery", params={"application": name}).text
    assert 'name="do"' not in page
    fields: Fields = {"application": name, f"face-{face.id}": "on", "name": "Eve"}
    for path in ("change", "delete", f"faces/{face.id}", "collections/change", "enrol"):
        assert viewer.submit(f"/console/gallery/{path}", **fields).status_code == 403, path
    assert gallery.faces.by_id(gallery.tenant, face.id).name == "Ann"


def test_a_face_is_renamed_and_moved(console: ConsoleClient, application: App) -> None:
    name, gallery = application
    face = gallery.add("word", name="Ann")
    at = f"/console/gallery/faces/{face.id}"
    create: Fields = {
        "application": name, "do": "create", "key": "vip", "name": HOSTILE, "score": "70"
    }
    assert console.submit("/console/gallery/collections/change", **create).status_code == 303
    assert "<script>alert" not in console.get(
        "/console/gallery/collections", params={"application": name}
    ).text
    saved = console.submit(at, application=name, name="Bea", gender="f", description="d",
                           collections="given", **dict[str, Any]({"in-vip": "on"}))
    assert saved.status_code == 303
    now = gallery.faces.by_id(gallery.tenant, face.id)
    assert (now.name, now.gender, now.description) == ("Bea", "f", "d")
    assert gallery.groups_of(now) == ["vip"]
    console.submit(at, application=name, name="Bea", collections="given")
    assert gallery.groups_of(now) == []
    chosen: Fields = {"application": name, f"face-{face.id}": "on", "collection": "default"}
    console.submit("/console/gallery/change", do="into", **chosen)
    assert gallery.groups_of(now) == ["default"]
    console.submit("/console/gallery/change", do="out_of", **chosen)
    assert gallery.groups_of(now) == []
    assert console.submit("/console/gallery/change", do="into", application=name,
                          collection="vip").status_code == 400
    changed: Fields = {"application": name, "do": "change", "key": "vip", "score": "nan"}
    assert console.submit("/console/gallery/collections/change", **changed).status_code == 400
    gone: Fields = {"application": name, "key": "vip", "do": "only"}
    assert console.submit("/console/gallery/collections/change", **gone).status_code == 303
    emptied = console.submit("/console/gallery/collections/change", application=name,
                             key="default", do="empty")
    assert "/console/gallery/receipts" in emptied.headers["location"]
    assert [each.key for each, _ in gallery.groups.all(gallery.tenant)] == ["default"]


def test_a_deletion_leaves_its_receipt(console: ConsoleClient, application: App) -> None:
    name, gallery = application
    faces = [gallery.add(f"g{n}", name=HOSTILE) for n in range(3)]
    chosen: Fields = {"application": name, **{f"face-{each.id}": "on" for each in faces[:2]}}
    asked = console.submit("/console/gallery/change", do="delete", **chosen)
    assert ids(asked.text) == [each.id for each in faces[:2]]
    assert gallery.count() == 3
    done = console.submit("/console/gallery/delete", **chosen)
    assert done.status_code == 303
    assert gallery.count() == 1
    page = console.get(done.headers["location"]).text
    receipt = done.headers["location"].rpartition("/")[2]
    assert receipt in page
    assert "pending" in page
    state = console.get(f"/admin/receipts/{receipt}").json()
    assert state["state"]["rows"]["faces"] == 2
    document = console.get(f"/console/gallery/receipts/{receipt}/document")
    assert document.headers["content-disposition"].endswith(f'receipt-{receipt}.json"')
    assert {each["id"] for each in document.json()["deleted"] if each["kind"] == "face"} == {
        each.id for each in faces[:2]
    }
    listed = console.get("/console/gallery/receipts", params={"application": name}).text
    assert receipt[:8] in listed
    assert console.get(f"/console/gallery/receipts/{'0' * 32}").status_code == 404
    again = console.submit("/console/gallery/delete", **chosen)
    assert again.status_code == 404
    entry = AuditLog(gallery.engine).page(limit=20)
    assert any(each.action == "gallery.delete" and each.outcome == "done" for each in entry)


def test_a_picture_may_stay_without_its_face(console: ConsoleClient, application: App) -> None:
    name, gallery = application
    face = gallery.add("kept")
    console.submit("/console/gallery/delete", application=name, keep_pictures="on",
                   **dict[str, Any]({f"face-{face.id}": "on"}))
    assert gallery.images.find(gallery.tenant, face.image_id) is not None


def test_a_choice_of_applications(console: ConsoleClient, application: App) -> None:
    name, _ = application
    page = console.get("/console/gallery").text
    assert name.replace("<", "&lt;").replace(">", "&gt;") in page




def photo(seed: int) -> bytes:
    """A PNG of 64 x 64 pixels, each seed another one."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_photos_are_enrolled_each_by_a_job_of_its_own(
    console: ConsoleClient, application: App, idle_stack: Stack
) -> None:
    name, gallery = application
    gallery.groups.create(gallery.tenant, "vip", "")
    files = [
        ("photos", ("a/Ann Lee.png", photo(1), "image/png")),
        ("photos", (HOSTILE, b"no picture", "text/plain")),
        ("photos", ("Bob.png", photo(2), "image/png")),
    ]
    fields: Fields = {"application": name, "faces": "largest", "gate": "on", "in-vip": "on"}
    page = console.request(
        "POST", "/console/gallery/enrol", data={"csrf": console.csrf, **fields}, files=files
    ).text
    job_ids = list(dict.fromkeys(re.findall(r'data-job="([0-9a-f]{32})"', page)))
    assert len(job_ids) == 2
    assert "not_a_picture" in page
    assert "<script>alert" not in page
    accepted = [idle_stack.jobs.read.get(gallery.tenant, each) for each in job_ids]
    assert [each.params["name"] for each in accepted] == ["Ann Lee", "Bob"]
    assert {tuple(each.params["collections"]) for each in accepted} == {("vip",)}
    assert all(each.params["faces"] == "largest" and each.params["gate"] for each in accepted)
    at = {"application": name, "jobs": ",".join([*job_ids, "0" * 32])}
    state = console.get("/admin/gallery/enrolments", params=at).json()
    assert [each["state"] for each in state["photos"]] == ["queued", "queued", "forgotten"]
    assert state["unfinished"] == 2
    assert "data-every" in console.get("/console/gallery/enrol", params=at).text
    # No client sees an operator's job, and no webhook tells of it.
    assert {each.dialect for each in accepted} == {""}
    assert console.get(f"/admin/jobs/{job_ids[0]}").json()["can_cancel"] is True
    assert console.post(f"/admin/jobs/{job_ids[0]}/cancel").status_code == 200
    assert console.get("/admin/gallery/enrolments", params=at).json()["unfinished"] == 1


def test_an_operator_meets_no_limit_of_the_application(
    console: ConsoleClient, application: App, idle_stack: Stack
) -> None:
    name, gallery = application
    idle_stack.tenants.set_limits(gallery.tenant, {"*": Limit(daily=0)})
    sent = {"application": name, "photos": [{"image": base64_of(photo(3)), "file": "a.png"}]}
    answer = console.post("/admin/gallery/enrol", json=sent).json()
    assert answer["photos"][0]["state"] == "queued"


def test_jobs_of_another_application_stay_its_own(
    idle_stack: Stack, console: ConsoleClient, application: App
) -> None:
    name, _ = application
    other = f"other {next(NUMBERS)}"
    idle_stack.add_tenant(other)
    search = {"application": name, "image": base64_of(photo(4))}
    job = console.post("/admin/gallery/search", json=search).json()
    assert job["state"] == "queued"
    path = f"gallery/search/{job['job_id']}"
    assert console.get(f"/admin/{path}", params={"application": name}).json()["state"] == "queued"
    assert console.get(f"/admin/{path}", params={"application": other}).status_code == 404
    assert console.get(f"/console/{path}", params={"application": other}).status_code == 404
    at = {"application": other, "jobs": job["job_id"]}
    state = console.get("/admin/gallery/enrolments", params=at).json()
    assert state["photos"][0]["state"] == "forgotten"


def test_a_search_needs_the_permission_to_see_people(
    idle_stack: Stack, application: App
) -> None:
    name, _ = application
    blind = sign_in(idle_stack, sees_faces=False)
    sent = {"application": name, "image": base64_of(photo(5))}
    assert blind.post("/admin/gallery/search", json=sent).status_code == 403
    form = blind.get("/console/gallery/search", params={"application": name}).text
    assert 'name="photo"' not in form
    files = {"photo": ("a.png", photo(5))}
    assert blind.submit("/console/gallery/search", files, application=name).status_code == 403


def test_a_search_shows_its_hits_or_why_there_are_none(
    console: ConsoleClient, application: App, idle_stack: Stack
) -> None:
    name, gallery = application
    files = {"photo": ("a.png", photo(6))}
    started = console.submit("/console/gallery/search", files, application=name)
    at = started.headers["location"]
    assert "data-every" in console.get(at).text
    job_id = at.rpartition("/")[2].partition("?")[0]
    face = gallery.add("found", name=HOSTILE)
    hit = {**enrolled_face_json(face), "cosine": 0.6, "confidence": 0.9,
           "collections": [{"key": "vip", "score": 80.0}, {"key": "top", "score": 95.0}]}
    result = {"pack": "edge", "pictures": [{"faces": [{"quality": {"score": 0.5}}, {}]}],
              "hits": [hit]}
    with writing(gallery.engine) as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id)
            .values(state="done", finished_at=1.0, result=result)
        )
    page = console.get(at).text
    assert ids(page) == [face.id]
    assert "1 in 1,000,000" in page
    assert "<script>alert" not in page
    found = console.get(f"/admin/gallery/search/{job_id}", params={"application": name}).json()
    assert found["hits"][0]["collections"] == ["vip"]
    assert found["hits"][0]["below"] == ["top"]
    assert found["people"] == 2
    with writing(gallery.engine) as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id).values(
                state="failed", result=None, error_code="no_face",
                error={"code": "no_face", "message": "No face.", "picture": None},
            )
        )
    words = words_about("no_face")
    assert f"{words.why} {words.own}" in console.get(at).text


def test_an_encrypted_application_works_as_well(
    console: ConsoleClient, idle_stack: Stack
) -> None:
    name = f"encrypted {next(NUMBERS)}"
    tenant = idle_stack.tenants.create(name, encrypted=True)
    keys = open_keys(idle_stack.settings, idle_stack.cluster.engine)
    media = open_media(idle_stack.settings, keys)
    key = image_media(tenant.id, "job", media.name(tenant.id, b"secret face"))
    media.put(key, b"secret face")
    gallery = TenantGallery(
        idle_stack.cluster.engine, tenant.id,
        cast("DirectoryStore", idle_stack.cluster.media), Clock(),
    )
    face = gallery.add("word", face_key=key)
    shown = console.get(
        f"/admin/gallery/faces/{face.id}/cutout", params={"application": name}
    )
    assert shown.content == b"secret face"
    sent = {"application": name, "photos": [{"image": base64_of(photo(7)), "file": "a.png"}]}
    (queued,) = console.post("/admin/gallery/enrol", json=sent).json()["photos"]
    job = idle_stack.jobs.read.get(tenant.id, queued["job_id"])
    assert is_encrypted(job.media[0])
