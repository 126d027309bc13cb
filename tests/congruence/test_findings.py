"""The search of a batch for people under two names and names for two people, on both
databases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import insert, select, update

from api_shim.batch_replies import batch_json
from pipeline.batches.comparison import Comparison, DoublesSearch
from pipeline.batches.findings import FindingSearches, Kind, Search, begin_again, search_of
from pipeline.batches.found import list_findings, notes_of
from pipeline.batches.model import Batch, BatchState, ItemState, Options
from pipeline.batches.store import BatchStore
from pipeline.calibration import Calibration
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, batches, findings
from pipeline.errors import JobTimedOut, PackMismatch
from pipeline.execution import doubling
from pipeline.execution.carry import Carry, Toolbox
from pipeline.execution.doubling import conclude_doubles
from pipeline.gallery.enrol import enrol
from pipeline.gallery.records import FaceRecord
from pipeline.jobs.model import Job
from pipeline.secrets import DataKey, KeySource, NoKeys
from pipeline.types import Embedding, VectorModel
from tests.gallery_factory import Shelf
from tests.job_factory import Clock, Queue

MODEL = VectorModel("edge", "a" * 64, 64)

# Made-up people's faces have a cosine of 0.8, strangers' of 0 with a spread of 0.125.
TABLE = Calibration("edge", 64, "a" * 64, ((0.2, -1.0), (0.3, -2.0), (0.5, -4.0), (0.6, -6.0)))


def face_of(person: int, photo: int) -> Embedding:
    draw = np.random.default_rng(person)
    own = draw.standard_normal(64)
    other = np.random.default_rng((person, photo)).standard_normal(64)
    vector = own / np.linalg.norm(own) + 0.5 * other / np.linalg.norm(other)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class OneKey(NoKeys):
    """Every tenant's data are encrypted under one key."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def of(self, tenant_id: int) -> DataKey | None:
        return self._key


class Rig:
    """A batch that is done, and the worker that searches it."""

    def __init__(self, shelf: Shelf, queue: Queue, clock: Clock) -> None:
        self.shelf, self.queue, self.engine = shelf, queue, shelf.engine
        self.store = BatchStore(self.engine, clock)
        self.searches = FindingSearches(self.engine, clock)
        self.batch = self._open(Options())
        self._number = 0
        self.table: Calibration | None = TABLE
        self.patience_s = 60.0
        self.keys: KeySource = NoKeys()
        self.jobs = 0

    def _open(self, options: Options) -> Batch:
        batch, _ = self.store.open(self.queue.tenant, options.collection, "photos", options)
        return batch

    def refuse_doubles(self) -> None:
        self.batch = self._open(Options(refuse_doubles=True, collection="again"))

    def before(self, name: str, person: int, photo: int) -> FaceRecord:
        """A face that was there before the batch."""
        return self.shelf.add(
            f"{name}-{person}-{photo}-{self.batch.id}", name=name, model=MODEL,
            embedding=face_of(person, photo),
        )

    def bring(self, name: str, person: int, photo: int) -> FaceRecord:
        """A face that the batch has enrolled."""
        face = self.before(name, person, photo)
        self.enrolled(face)
        return face

    def enrolled(self, face: FaceRecord) -> None:
        """Let the batch have brought a face."""
        self._item(face, face.name, ItemState.ENROLLED)

    def again(self, face: FaceRecord, name: str) -> int:
        """The same picture once more."""
        return self._item(face, name, ItemState.DUPLICATE)

    def _item(self, face: FaceRecord, name: str, state: ItemState) -> int:
        self._number += 1
        image = self.shelf.images.get(self.shelf.tenant, face.image_id)
        mark = self._number.to_bytes(16, "big")
        with writing(self.engine) as connection:
            connection.execute(
                insert(batch_items).values(
                    batch_id=self.batch.id, number=self._number, tenant_id=self.shelf.tenant,
                    name_mark=mark, source_name=f"{self._number}.jpg", name=name,
                    state=state.value, image_ref=image.id, face_id=face.id, faces=1,
                )
            )
            column = batches.c[state.value]
            connection.execute(
                update(batches).where(batches.c.id == self.batch.id)
                .values({column: column + 1, batches.c["items"]: batches.c["items"] + 1,
                         batches.c.state: BatchState.DONE.value,
                         batches.c.exhausted: True})
            )
        return self._number

    # -- searching ----------------------------------------------------------------

    @property
    def tools(self) -> Toolbox:
        info = SimpleNamespace(name="edge", recognition_model="a" * 64, dimension=64)
        return cast(Toolbox, SimpleNamespace(
            pack=SimpleNamespace(info=info), calibration=self.table,
            doubles=DoublesSearch(
                Comparison(self.engine, self.keys), patience_s=self.patience_s
            ),
        ))

    def run(self, job: Job) -> None:
        conclusion = conclude_doubles(job, Carry(), self.tools)
        assert self.queue.finish(self.queue.take(job), {}, [], conclusion.effect)
        self.jobs += 1

    def search(self) -> Search:
        """Search to the end."""
        self.searches.begin_due()
        while (search := self.now()).state == "searching":
            job = self.queue.find(search.job)
            assert job is not None
            self.run(job)
        return search

    def now(self) -> Search:
        search = search_of(self.store.get(None, self.batch.id))
        assert search is not None
        return search

    def found(self, kind: Kind) -> list[tuple[str, str, int]]:
        return [
            (each.face.name, "" if each.other is None else each.other.name, each.count)
            for each in list_findings(self.engine, self.batch.id, kind=kind)
        ]

    def rows(self) -> int:
        with reading(self.engine) as connection:
            return len(connection.execute(select(findings.c.id)).all())


@pytest.fixture
def rig(shelf: Shelf, queue: Queue, clock: Clock) -> Rig:
    return Rig(shelf, queue, clock)


def test_a_person_under_two_names_is_found_in_the_batch_and_in_the_rest(rig: Rig) -> None:
    rig.before("Old Ann", 1, 0)
    rig.before("Nobody's business", 9, 0)
    rig.before("Somebody else", 9, 1)
    for photo in (1, 2):
        rig.bring("Ann", 1, photo)
        rig.bring("Bob", 2, photo)
    rig.bring("Robert", 2, 3)
    search = rig.search()

    assert search.state == "done"
    assert (search.faces, search.rest, search.through) == (5, 3, 1.0)
    assert {frozenset(pair[:2]): pair[2] for pair in rig.found(Kind.TWO_NAMES)} == {
        frozenset({"Ann", "Old Ann"}): 2, frozenset({"Bob", "Robert"}): 2,
    }
    assert search.found == {"two_names": 4}
    assert rig.found(Kind.TWO_PEOPLE) == rig.found(Kind.ODD_FACE) == []


def test_the_threshold_says_what_it_promises(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    rig.bring("Bob", 2, 0)
    shown = rig.search().shown()
    assert shown["same_fmr"] == 1e-5
    assert shown["false_findings"] == 1e-5
    assert (shown["same"], shown["apart"]) == pytest.approx((0.55, 0.3))
    assert "job" not in shown


def test_two_people_and_an_odd_face_under_one_name(rig: Rig) -> None:
    for photo in range(3):
        rig.bring("Ann", 1, photo)
        rig.bring("Bob", 3, photo)
    for photo in range(2):
        rig.bring("Ann", 2, photo)
    rig.bring("Bob", 4, 0)
    assert rig.search().found == {"two_people": 1, "odd_face": 1}
    assert rig.found(Kind.TWO_PEOPLE) == [("Ann", "Ann", 2)]
    assert rig.found(Kind.ODD_FACE) == [("Bob", "Bob", 1)]


def test_faces_without_a_name_are_called_unnamed(rig: Rig) -> None:
    rig.before("", 1, 0)
    rig.bring("Ann", 1, 1)
    rig.bring("ID7", 2, 0)
    rig.bring("ID8", 2, 1)
    assert rig.search().found == {"unnamed": 2}


def test_a_picture_that_came_again_under_another_name(rig: Rig) -> None:
    ann = rig.bring("Ann", 1, 0)
    rig.again(ann, "Ann")
    rig.again(ann, "")
    number = rig.again(ann, "Bob")
    assert rig.search().found == {"same_picture": 1}
    (finding,) = list_findings(rig.engine, rig.batch.id)
    assert finding.again is not None
    assert (finding.again.number, finding.again.name) == (number, "Bob")
    assert notes_of(rig.engine, rig.batch.id) == {number: "same_picture as of 'Ann'"}
    assert finding.shown()["again"]["source_name"] == f"{number}.jpg"


def test_a_search_goes_on_where_the_job_before_left_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "HELD", 3)
    monkeypatch.setattr("pipeline.batches.comparison.PORTION", 2)
    for person in range(4):
        for photo in range(2):
            rig.bring(f"{'AB'[photo]}{person}", person, photo)
    rig.patience_s = -1.0
    search = rig.search()
    assert rig.jobs > 4
    assert search.found == {"two_names": 4}
    assert search.compared == 8 * 7 // 2
    assert len(rig.found(Kind.TWO_NAMES)) == 4


def test_a_message_that_comes_twice_finds_nothing_twice(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    rig.bring("Bob", 1, 1)
    (job,) = rig.searches.begin_due()
    first = conclude_doubles(job, Carry(), rig.tools)
    rig.run(job)
    assert first.effect is not None
    with writing(rig.engine) as connection:
        assert first.effect(connection) == {}
    assert rig.rows() == 1
    assert rig.searches.begin_due() == []


def test_erasing_a_face_erases_its_findings(rig: Rig) -> None:
    kept = rig.before("Old Ann", 1, 0)
    gone = rig.bring("Ann", 1, 1)
    rig.search()
    assert rig.rows() == 1
    rig.shelf.faces.delete(rig.shelf.tenant, gone.id)
    assert rig.rows() == 0
    assert list_findings(rig.engine, rig.batch.id) == []
    assert rig.shelf.faces.by_id(rig.shelf.tenant, kept.id) == kept


def test_a_face_that_is_erased_while_its_batch_is_searched_leaves_no_finding(rig: Rig) -> None:
    rig.bring("Old Ann", 1, 0)
    gone = rig.bring("Ann", 1, 1)
    (job,) = rig.searches.begin_due()
    conclusion = conclude_doubles(job, Carry(), rig.tools)
    rig.shelf.faces.delete(rig.shelf.tenant, gone.id)
    assert rig.queue.finish(rig.queue.take(job), {}, [], conclusion.effect)
    assert (rig.now().state, rig.rows()) == ("done", 0)


def test_what_was_given_one_name_since_is_settled(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    other = rig.bring("Ana", 1, 1)
    rig.search()
    assert len(rig.found(Kind.TWO_NAMES)) == 1
    rig.shelf.faces.rename(rig.shelf.tenant, other.id, "Ann")
    assert rig.found(Kind.TWO_NAMES) == []


def test_programs_are_shown_what_was_found(rig: Rig) -> None:
    assert batch_json(rig.batch)["findings"] is None
    ann, ana = rig.bring("Ann", 1, 0), rig.bring("Ana", 1, 1)
    rig.search()
    batch = rig.store.get(None, rig.batch.id)
    shown = batch_json(batch, found=rig.store.findings(batch.id, 10))["findings"]
    assert shown["state"] == "done"
    assert shown["found"] == shown["listed"] == {"two_names": 1}
    assert not {"job", "held", "against", "compared"} & set(shown)
    (found,) = shown["list"]
    assert {found["face"]["face_id"], found["other"]["face_id"]} == {ann.id, ana.id}
    assert {found["face"]["source_name"], found["other"]["source_name"]} == {"1.jpg", "2.jpg"}
    assert found["cosine"] > 0.55


def test_without_a_table_only_pictures_are_compared(rig: Rig) -> None:
    ann = rig.bring("Ann", 1, 0)
    rig.bring("Bob", 1, 1)
    rig.again(ann, "Carl")
    rig.table = None
    search = rig.search()
    assert (search.state, search.reason, search.found) == (
        "done", "uncalibrated", {"same_picture": 1},
    )


def test_another_pack_does_not_compare(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    (job,) = rig.searches.begin_due()
    tools: Any = rig.tools
    tools.pack.info.recognition_model = "b" * 64
    with pytest.raises(PackMismatch):
        conclude_doubles(job, Carry(), tools)


def test_a_search_whose_job_fails_says_so(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    (job,) = rig.searches.begin_due()
    assert rig.queue.fail(rig.queue.take(job), JobTimedOut(), [])
    assert rig.searches.begin_due() == []
    search = rig.now()
    assert (search.state, search.reason) == ("failed", "job_timed_out")

    assert begin_again(rig.engine, rig.batch.id)
    assert rig.search().state == "done"
    assert not begin_again(rig.engine, rig.batch.id)


def test_a_batch_that_has_grown_is_searched_anew(rig: Rig) -> None:
    rig.bring("Ann", 1, 0)
    assert rig.search().faces == 1
    rig.bring("Bob", 1, 1)
    assert rig.search().found == {"two_names": 1}


def test_a_batch_of_nothing_needs_no_job(rig: Rig) -> None:
    with writing(rig.engine) as connection:
        connection.execute(update(batches).values(state=BatchState.DONE.value))
    assert rig.searches.begin_due() == []
    assert rig.now().state == "done"


def test_doubles_are_refused_where_that_is_asked_for(rig: Rig) -> None:
    rig.refuse_doubles()
    first = rig.before("Old Ann", 1, 0)
    later = [rig.bring("Ann", 1, 1), rig.bring("Robert", 2, 1)]
    kept = rig.bring("Bob", 2, 0), rig.bring("Carl", 3, 0)
    rig.again(later[0], "Ann")
    with writing(rig.engine) as connection:
        connection.execute(update(batches).values(state=BatchState.DONE.value))
    search = rig.search()

    batch = rig.store.get(None, rig.batch.id)
    assert (batch.enrolled, batch.duplicate, batch.rejected) == (2, 0, 3)
    assert search.refused == 3
    ended = {item.source_name: (item.state, item.reason) for item in rig.store.items(batch.id)}
    assert ended["1.jpg"] == (ItemState.REJECTED, "same_person")
    # Bob was enrolled after Robert.
    assert ended["3.jpg"] == ended["5.jpg"] == (ItemState.REJECTED, "same_person")
    assert ended["2.jpg"][0] is ended["4.jpg"][0] is ItemState.ENROLLED
    there = {each.id for each in rig.shelf.faces.after(rig.shelf.tenant, 0, 100)}
    assert there == {first.id, later[1].id, kept[1].id}
    assert rig.searches.begin_due() == []


def test_a_photo_under_a_wrong_name_is_refused_and_not_those_it_is_of(rig: Rig) -> None:
    rig.refuse_doubles()
    for photo in range(3):
        rig.bring("Ann", 1, photo)
    stray = rig.bring("Ann", 2, 9)
    for photo in range(3):
        rig.bring("Bob", 2, photo)
    search = rig.search()
    assert search.refused == 1
    there = {each.id for each in rig.shelf.faces.after(rig.shelf.tenant, 0, 100)}
    assert len(there) == 6
    assert stray.id not in there


def test_vectors_that_are_encrypted_are_compared(rig: Rig) -> None:
    key = DataKey(rig.shelf.tenant, b"k" * 32)
    for name, photo in (("Ann", 0), ("Ana", 1)):
        new = rig.shelf.prepare(name, model=MODEL, name=name, embedding=face_of(1, photo))
        with writing(rig.engine) as connection:
            (face,) = enrol(connection, rig.shelf.tenant, new, 1.0, key).faces
        rig.enrolled(face)
    rig.keys = OneKey(key)
    assert rig.search().found == {"two_names": 1}
