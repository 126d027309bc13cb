"""Settling findings, on both databases: what it does to the gallery, that it is remembered, and
that it can be taken back."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.findings import QueuedFinding, list_findings, open_findings
from pipeline.database.engine import reading
from pipeline.database.schema import dismissed_findings, renamed_faces
from pipeline.duplicates.review import FindingReview, Settlement, Side
from pipeline.encryption.data_key import NoKeys
from pipeline.errors import Conflict, FaceNotFound, FindingNotFound, InvalidParameter
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.records import FaceRecord
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, Queue
from tests.search_harness import SearchHarness


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue, clock: Clock) -> SearchHarness:
    return SearchHarness(gallery, queue, clock)


class Desk:
    """An operator who settles the findings of a batch."""

    def __init__(self, harness: SearchHarness) -> None:
        self.harness = harness
        self.faces = FaceStore(harness.engine, harness.gallery.media)
        self.review = FindingReview(harness.engine, self.faces, NoKeys())

    def queue(self, kind: FindingKind | None = None) -> list[QueuedFinding]:
        return open_findings(self.harness.engine, self.harness.batch.id, kind=kind)

    def settle(
        self, settlement: Settlement, *, side: Side = "face", name: str = ""
    ) -> tuple[str, int]:
        """Settle the first finding; (the change, how many faces have another name)."""
        batch = self.harness.store.get(None, self.harness.batch.id)
        done = self.review.settle(batch, self.queue()[0].id, settlement, side=side, name=name)
        return done.change_id, done.renamed

    def name_of(self, face: FaceRecord) -> str:
        return self.faces.by_id(self.harness.gallery.tenant, face.id).name

    def undo(self, change: str) -> int:
        return self.review.undo(self.harness.gallery.tenant, change)


@pytest.fixture
def desk(harness: SearchHarness) -> Desk:
    return Desk(harness)


def test_merging_gives_all_faces_of_a_name_the_other_one(
    harness: SearchHarness, desk: Desk
) -> None:
    old = [harness.before("Old Ann", 1, photo) for photo in range(2)]
    new = [harness.bring("Ann", 1, photo) for photo in (2, 3)]
    harness.search()
    change, renamed = desk.settle(Settlement.MERGE, side="other")
    kept = {desk.name_of(each) for each in (*old, *new)}
    assert len(kept) == 1
    assert renamed == 2
    assert desk.queue() == []
    assert desk.undo(change) == 2
    assert [desk.name_of(each) for each in (*old, *new)] == ["Old Ann"] * 2 + ["Ann"] * 2
    assert len(desk.queue()) == 1
    with pytest.raises(FindingNotFound):
        desk.undo(change)


def test_undoing_leaves_later_names_alone(harness: SearchHarness, desk: Desk) -> None:
    old, new = harness.before("Old Ann", 1, 0), harness.bring("Ann", 1, 1)
    harness.search()
    change, _ = desk.settle(Settlement.MERGE, side="face")
    changed = next(each for each in (old, new) if desk.name_of(each) != each.name)
    desk.faces.rename(harness.gallery.tenant, changed.id, "Anna")
    assert desk.undo(change) == 0
    assert desk.name_of(changed) == "Anna"


def test_two_people_are_remembered_by_later_batches(harness: SearchHarness, desk: Desk) -> None:
    twin = harness.before("Bea", 1, 0)
    harness.bring("Ann", 1, 1)
    harness.search()
    change, _ = desk.settle(Settlement.DISMISS)
    assert (desk.queue(), list_findings(harness.engine, harness.batch.id)) == ([], [])
    harness.reject_duplicates()
    harness.bring("ann ", 1, 2)
    search = harness.search()
    assert (search.found, search.refused) == ({}, 0)
    assert desk.queue() == []
    with reading(harness.engine) as connection:
        count = select(func.count()).select_from(dismissed_findings)
        assert connection.execute(count).scalar_one() == 1
        desk.faces.delete(harness.gallery.tenant, twin.id)
    with reading(harness.engine) as connection:
        assert connection.execute(count).scalar_one() == 0
    with pytest.raises(FindingNotFound):
        desk.undo(change)


def test_a_dismissal_is_taken_back(harness: SearchHarness, desk: Desk) -> None:
    harness.before("Bea", 1, 0)
    harness.bring("Ann", 1, 1)
    harness.search()
    change, _ = desk.settle(Settlement.DISMISS)
    assert desk.undo(change) == 1
    assert len(desk.queue()) == 1


def test_splitting_takes_the_whole_group(harness: SearchHarness, desk: Desk) -> None:
    anns = [harness.bring("Ann", 1, photo) for photo in range(3)]
    others = [harness.bring("Ann", 2, photo) for photo in range(2)]
    harness.search()
    change, renamed = desk.settle(Settlement.SPLIT)
    assert renamed == 2
    assert {desk.name_of(each) for each in anns} == {"Ann"}
    assert {desk.name_of(each) for each in others} == {"Ann (2)"}
    assert desk.queue() == []
    assert desk.undo(change) == 2
    _, renamed = desk.settle(Settlement.SPLIT, name="Zoe")
    assert {desk.name_of(each) for each in others} == {"Zoe"}


def test_an_odd_face_belongs_to_its_name_after_all(harness: SearchHarness, desk: Desk) -> None:
    for photo in range(3):
        harness.bring("Ann", 1, photo)
    harness.bring("Ann", 2, 0)
    harness.search()
    assert [each.finding.kind for each in desk.queue()] == [FindingKind.ODD_FACE]
    desk.settle(Settlement.MERGE)
    assert desk.queue() == []
    harness.bring("Ann", 1, 4)
    assert harness.search().found == {}


def test_faces_without_a_name_are_merged_into_the_named(harness: SearchHarness, desk: Desk) -> None:
    named, nameless = harness.before("Ann", 1, 0), harness.bring("", 1, 1)
    harness.search()
    desk.settle(Settlement.MERGE, side="face")
    assert (desk.name_of(named), desk.name_of(nameless)) == ("Ann", "Ann")
    assert desk.queue() == []


def test_two_faces_without_names_need_one(harness: SearchHarness, desk: Desk) -> None:
    both = [harness.bring("", 1, 0), harness.bring("", 1, 1)]
    harness.search()
    with pytest.raises(InvalidParameter):
        desk.settle(Settlement.MERGE)
    desk.settle(Settlement.MERGE, name="Ann")
    assert [desk.name_of(each) for each in both] == ["Ann", "Ann"]
    assert desk.queue() == []


def test_a_picture_that_came_again(harness: SearchHarness, desk: Desk) -> None:
    ann = harness.bring("Ann", 1, 0)
    harness.again(ann, "Ana")
    harness.search()
    change, _ = desk.settle(Settlement.MERGE)
    assert desk.queue() == []
    desk.undo(change)
    with pytest.raises(InvalidParameter):
        desk.settle(Settlement.DELETE, side="other")
    desk.settle(Settlement.RENAME, name="Ana")
    assert desk.name_of(ann) == "Ana"
    assert desk.queue() == []


def test_deleting_one_face(harness: SearchHarness, desk: Desk) -> None:
    old, new = harness.before("Old Ann", 1, 0), harness.bring("Ann", 1, 1)
    harness.search()
    first = desk.queue()[0]
    change, _ = desk.settle(Settlement.DELETE, side="face")
    assert change == ""
    gone = first.finding.face.face_id
    for each in (old, new):
        if each.id == gone:
            with pytest.raises(FaceNotFound):
                desk.name_of(each)
        else:
            assert desk.name_of(each) == each.name
    batch = harness.store.get(None, harness.batch.id)
    with pytest.raises(FindingNotFound):
        desk.review.settle(batch, first.id, Settlement.DISMISS)


def test_what_a_finding_does_not_allow(harness: SearchHarness, desk: Desk) -> None:
    harness.before("Bea", 1, 0)
    harness.bring("Ann", 1, 1)
    harness.search()
    for settlement, name in ((Settlement.SPLIT, "Zoe"), (Settlement.RENAME, " "),
                             (Settlement.RENAME, "x" * 256), (Settlement.RENAME, "a\0")):
        with pytest.raises(InvalidParameter):
            desk.settle(settlement, name=name)
    with pytest.raises(Conflict):
        desk.settle(Settlement.RENAME, name=desk.queue()[0].finding.face.name)
    with pytest.raises(FindingNotFound):
        desk.review.undo(harness.gallery.tenant + 1, "0" * 32)


def test_another_tenant_takes_nothing_back(harness: SearchHarness, desk: Desk) -> None:
    harness.before("Old Ann", 1, 0)
    harness.bring("Ann", 1, 1)
    harness.search()
    change, _ = desk.settle(Settlement.MERGE)
    with pytest.raises(FindingNotFound):
        desk.review.undo(harness.gallery.tenant + 1, change)
    with reading(harness.engine) as connection:
        assert connection.execute(select(renamed_faces.c.change_id)).scalars().all() == [change]


def test_the_queue_is_read_in_pages(
    harness: SearchHarness, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.batches.findings.PAGE_ROWS", 2)
    for person in range(5):
        harness.before(f"Old {person}", 10 + person, 0)
        harness.bring(f"New {person}", 10 + person, 1)
    for photo in range(3):
        harness.bring("Ann", 1, photo)
    harness.bring("Ann", 2, 0)
    harness.search()
    whole = desk.queue()
    assert [each.finding.kind for each in whole] == [FindingKind.ODD_FACE] + [
        FindingKind.TWO_NAMES
    ] * 5
    for place in range(6):
        after = whole[place - 1].position if place else ""
        rest = open_findings(harness.engine, harness.batch.id, after=after, limit=2)
        assert rest == whole[place : place + 2]
    desk.settle(Settlement.DISMISS)
    assert desk.queue() == whole[1:]
    assert desk.queue(FindingKind.TWO_NAMES) == whole[1:]
