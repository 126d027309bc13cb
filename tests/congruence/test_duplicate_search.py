"""The search of a batch for people under two names and names for two people, on both
databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from api_shim.batches.replies import batch_values
from pipeline.batches import duplicate_candidates
from pipeline.batches.duplicate_search import (
    FindingKind,
    restart_failed,
)
from pipeline.batches.findings import list_findings, notes_by_item
from pipeline.batches.model import BatchState, ItemState
from pipeline.database.engine import writing
from pipeline.database.schema import batches
from pipeline.encryption.data_key import DataKey
from pipeline.errors import JobTimedOut, PackMismatch
from pipeline.execution import duplicate_search
from pipeline.execution.context import JobContext
from pipeline.execution.duplicate_search import finish_duplicate_search
from pipeline.gallery.enrolment import enrol
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, Queue
from tests.search_harness import MODEL, OneKey, face_of
from tests.search_harness import SearchHarness as Harness


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue, clock: Clock) -> Harness:
    return Harness(gallery, queue, clock)


def test_a_person_under_two_names_is_found_in_the_batch_and_in_the_rest(harness: Harness) -> None:
    harness.before("Old Ann", 1, 0)
    harness.before("Nobody's business", 9, 0)
    harness.before("Somebody else", 9, 1)
    for photo in (1, 2):
        harness.bring("Ann", 1, photo)
        harness.bring("Bob", 2, photo)
    harness.bring("Robert", 2, 3)
    search = harness.search()

    assert search.state == "done"
    assert (search.faces, search.rest, search.through) == (5, 3, 1.0)
    assert {frozenset(pair[:2]): pair[2] for pair in harness.found(FindingKind.TWO_NAMES)} == {
        frozenset({"Ann", "Old Ann"}): 2, frozenset({"Bob", "Robert"}): 2,
    }
    assert search.found == {"two_names": 4}
    assert harness.found(FindingKind.TWO_PEOPLE) == harness.found(FindingKind.ODD_FACE) == []


def test_the_threshold_says_what_it_promises(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    harness.bring("Bob", 2, 0)
    shown = harness.search().public_json()
    assert shown["same_fmr"] == 1e-5
    assert shown["false_findings"] == 1e-5
    assert (shown["same"], shown["apart"]) == pytest.approx((0.55, 0.3))
    assert "job" not in shown


def test_two_people_and_an_odd_face_under_one_name(harness: Harness) -> None:
    for photo in range(3):
        harness.bring("Ann", 1, photo)
        harness.bring("Bob", 3, photo)
    for photo in range(2):
        harness.bring("Ann", 2, photo)
    harness.bring("Bob", 4, 0)
    assert harness.search().found == {"two_people": 1, "odd_face": 1}
    assert harness.found(FindingKind.TWO_PEOPLE) == [("Ann", "Ann", 2)]
    assert harness.found(FindingKind.ODD_FACE) == [("Bob", "Bob", 1)]


def test_names_with_too_many_faces_are_told(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (duplicate_candidates, duplicate_search):
        monkeypatch.setattr(module, "MAX_FACES_PER_NAME", 4)
    for photo in range(5):
        harness.bring("Ann", 1, photo)
    for photo in range(3):
        harness.bring("Bob", 3, photo)
    assert harness.search().public_json()["cut_names"] == 1


def test_faces_without_a_name_are_called_unnamed(harness: Harness) -> None:
    harness.before("", 1, 0)
    harness.bring("Ann", 1, 1)
    harness.bring("ID7", 2, 0)
    harness.bring("ID8", 2, 1)
    assert harness.search().found == {"unnamed": 2}


def test_a_picture_that_is_repeated_under_another_name(harness: Harness) -> None:
    ann = harness.bring("Ann", 1, 0)
    harness.again(ann, "Ann")
    harness.again(ann, "")
    number = harness.again(ann, "Bob")
    assert harness.search().found == {"same_picture": 1}
    (finding,) = list_findings(harness.engine, harness.batch.id)
    assert finding.again is not None
    assert (finding.again.item, finding.again.name) == (number, "Bob")
    assert notes_by_item(harness.engine, harness.batch.id) == {number: "same_picture as of 'Ann'"}
    assert finding.to_json()["again"]["source_name"] == f"{number}.jpg"


def test_a_search_continues_where_the_previous_job_ended(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_search, "BLOCK_FACES", 3)
    monkeypatch.setattr("pipeline.batches.duplicate_candidates.PAGE_ROWS", 2)
    for person in range(4):
        for photo in range(2):
            harness.bring(f"{'AB'[photo]}{person}", person, photo)
    harness.patience_s = -1.0
    search = harness.search()
    assert harness.jobs > 4
    assert search.found == {"two_names": 4}
    assert search.compared == 8 * 7 // 2
    assert len(harness.found(FindingKind.TWO_NAMES)) == 4


def test_a_message_that_comes_twice_finds_nothing_twice(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    harness.bring("Bob", 1, 1)
    (job,) = harness.searches.start_due()
    first = finish_duplicate_search(job, JobContext(), harness.tools)
    harness.run(job)
    assert first.effect is not None
    with writing(harness.engine) as connection:
        assert first.effect(connection) == {}
    assert harness.rows() == 1
    assert harness.searches.start_due() == []


def test_erasing_a_face_erases_its_findings(harness: Harness) -> None:
    kept = harness.before("Old Ann", 1, 0)
    gone = harness.bring("Ann", 1, 1)
    harness.search()
    assert harness.rows() == 1
    harness.gallery.faces.delete(harness.gallery.tenant, gone.id)
    assert harness.rows() == 0
    assert list_findings(harness.engine, harness.batch.id) == []
    assert harness.gallery.faces.by_id(harness.gallery.tenant, kept.id) == kept


def test_a_face_that_is_erased_while_its_batch_is_searched_leaves_no_finding(
    harness: Harness
) -> None:
    harness.bring("Old Ann", 1, 0)
    gone = harness.bring("Ann", 1, 1)
    (job,) = harness.searches.start_due()
    conclusion = finish_duplicate_search(job, JobContext(), harness.tools)
    harness.gallery.faces.delete(harness.gallery.tenant, gone.id)
    assert harness.queue.finish(harness.queue.take(job), {}, [], conclusion.effect)
    assert (harness.now().state, harness.rows()) == ("done", 0)


def test_a_finding_is_settled_once_both_faces_have_one_name(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    other = harness.bring("Ana", 1, 1)
    harness.search()
    assert len(harness.found(FindingKind.TWO_NAMES)) == 1
    harness.gallery.faces.rename(harness.gallery.tenant, other.id, "Ann")
    assert harness.found(FindingKind.TWO_NAMES) == []


def test_findings_as_json(harness: Harness) -> None:
    assert batch_values(harness.batch)["findings"] is None
    ann, ana = harness.bring("Ann", 1, 0), harness.bring("Ana", 1, 1)
    harness.search()
    batch = harness.store.get(None, harness.batch.id)
    shown = batch_values(batch, findings=harness.store.findings(batch.id, 10))["findings"]
    assert shown["state"] == "done"
    assert shown["found"] == shown["listed"] == {"two_names": 1}
    assert not {"job", "held", "against", "compared"} & set(shown)
    (found,) = shown["list"]
    assert {found["face"]["face_id"], found["other"]["face_id"]} == {ann.id, ana.id}
    assert {found["face"]["source_name"], found["other"]["source_name"]} == {"1.jpg", "2.jpg"}
    assert found["cosine"] > 0.55


def test_without_a_table_only_pictures_are_compared(harness: Harness) -> None:
    ann = harness.bring("Ann", 1, 0)
    harness.bring("Bob", 1, 1)
    harness.again(ann, "Carl")
    harness.table = None
    search = harness.search()
    assert (search.state, search.reason, search.found) == (
        "done", "uncalibrated", {"same_picture": 1},
    )


def test_another_pack_does_not_compare(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    (job,) = harness.searches.start_due()
    tools: Any = harness.tools
    tools.pack.info.recognition_model = "b" * 64
    with pytest.raises(PackMismatch):
        finish_duplicate_search(job, JobContext(), tools)


def test_a_search_whose_job_fails_says_so(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    (job,) = harness.searches.start_due()
    assert harness.queue.fail(harness.queue.take(job), JobTimedOut(), [])
    assert harness.searches.start_due() == []
    search = harness.now()
    assert (search.state, search.reason) == ("failed", "job_timed_out")

    assert restart_failed(harness.engine, harness.batch.id)
    assert harness.search().state == "done"
    assert not restart_failed(harness.engine, harness.batch.id)


def test_a_batch_that_has_grown_is_searched_anew(harness: Harness) -> None:
    harness.bring("Ann", 1, 0)
    assert harness.search().faces == 1
    harness.bring("Bob", 1, 1)
    assert harness.search().found == {"two_names": 1}


def test_a_batch_of_nothing_needs_no_job(harness: Harness) -> None:
    with writing(harness.engine) as connection:
        connection.execute(update(batches).values(state=BatchState.DONE.value))
    assert harness.searches.start_due() == []
    assert harness.now().state == "done"


def test_duplicate_people_are_rejected_on_request(harness: Harness) -> None:
    harness.reject_duplicates()
    first = harness.before("Old Ann", 1, 0)
    later = [harness.bring("Ann", 1, 1), harness.bring("Robert", 2, 1)]
    kept = harness.bring("Bob", 2, 0), harness.bring("Carl", 3, 0)
    harness.again(later[0], "Ann")
    with writing(harness.engine) as connection:
        connection.execute(update(batches).values(state=BatchState.DONE.value))
    search = harness.search()

    batch = harness.store.get(None, harness.batch.id)
    assert (batch.enrolled, batch.duplicate, batch.rejected) == (2, 0, 3)
    assert search.refused == 3
    ended = {item.source_name: (item.state, item.reason) for item in harness.store.items(batch.id)}
    assert ended["1.jpg"] == (ItemState.REJECTED, "same_person")
    # Bob was enrolled after Robert.
    assert ended["3.jpg"] == ended["5.jpg"] == (ItemState.REJECTED, "same_person")
    assert ended["2.jpg"][0] is ended["4.jpg"][0] is ItemState.ENROLLED
    there = {each.id for each in harness.gallery.faces.after(harness.gallery.tenant, 0, 100)}
    assert there == {first.id, later[1].id, kept[1].id}
    assert harness.searches.start_due() == []


def test_the_photo_under_the_wrong_name_is_rejected(harness: Harness) -> None:
    harness.reject_duplicates()
    for photo in range(3):
        harness.bring("Ann", 1, photo)
    stray = harness.bring("Ann", 2, 9)
    for photo in range(3):
        harness.bring("Bob", 2, photo)
    search = harness.search()
    assert search.refused == 1
    there = {each.id for each in harness.gallery.faces.after(harness.gallery.tenant, 0, 100)}
    assert len(there) == 6
    assert stray.id not in there


def test_vectors_that_are_encrypted_are_compared(harness: Harness) -> None:
    key = DataKey(harness.gallery.tenant, b"k" * 32)
    for name, photo in (("Ann", 0), ("Ana", 1)):
        new = harness.gallery.prepare(name, model=MODEL, name=name, embedding=face_of(1, photo))
        with writing(harness.engine) as connection:
            (face,) = enrol(connection, harness.gallery.tenant, new, 1.0, key).faces
        harness.enrolled(face)
    harness.keys = OneKey(key)
    assert harness.search().found == {"two_names": 1}
