"""Pictures between the acceptance and the end of their job: in the database or in the media
store, on every database and every media store. None is lost, none stays behind."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import cv2
import numpy as np
import pytest
from sqlalchemy import Engine, select

from api_shim.accept_job import JobAcceptance
from api_shim.requests import JobRequest
from pipeline import storage_keys
from pipeline.accounts.deletion import delete_tenant
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.database.engine import reading
from pipeline.database.schema import discarded, images, job_pictures
from pipeline.encrypt_existing import EncryptExisting
from pipeline.encryption.data_keys import TenantKeys, begin_encrypting
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.errors import DatabaseUnavailable, FaceError, JobNotFound, MediaNotFound, NoFace
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.enrolment import FaceCutouts, finish_enrol, finish_replace
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.gallery.trash import Trash
from pipeline.jobs import store as job_store
from pipeline.jobs.challenges import ChallengeStore
from pipeline.jobs.model import Job
from pipeline.jobs.store import JobStore
from pipeline.media.base import WrappingStore
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits
from pipeline.operations import EnrolParams, ReplaceParams
from pipeline.storage_keys import HOUR_S
from pipeline.types import Box, DetectedFace, JsonObject
from tests.gallery_factory import MODEL, vector_of
from tests.job_factory import LEASE_S, Clock
from tests.servers import MinioServer
from workers.upkeep.expire import Expiry

SIZE = (60, 40)
CUTOUT = b"a face cut out"


def picture(seed: int) -> bytes:
    """A PNG of some 7 kB."""
    pixels = np.random.default_rng(seed).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


class StoreOfLater(WrappingStore):
    """Its server's clock, if it has one, is ahead by twice the grace of the sweep."""

    def server_time(self) -> float | None:
        told = super().server_time()
        return None if told is None else told + 2 * GRACE_S


class Harness:
    """The web side, a worker's end of jobs, and upkeep. Each tenant is its own."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.clock = Clock(time.time())
        self.vault = Vault(os.urandom(KEY_BYTES))
        self.tenants = TenantStore(engine, self.vault, self.clock)
        self.tenant = self.tenants.create("tenant")
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """As processes with these settings that have just started."""
        self.settings = settings
        keys = TenantKeys(self.engine, lambda: self.vault)
        self.media = open_media(settings, keys, self.engine)
        self.jobs = JobStore(self.engine, self.clock, keys)
        self.trash = Trash(self.engine, self.media, self.clock)
        self.resources = cast(Resources, SimpleNamespace(
            media=self.media, keys=keys, limits=PictureLimits.from_settings(settings),
            pack=SimpleNamespace(info=SimpleNamespace(name="edge")),
        ))
        self.acceptance = JobAcceptance(
            settings, self.jobs, self.media, ChangeLog(self.engine),
            ChallengeStore(self.engine, self.clock), self.clock,
        )

    def in_rows(self, rows: bool) -> None:
        """Let pictures wait in rows, or none."""
        self.use(self.settings.model_copy(update={"row_picture_kb": 50 if rows else 0}))

    def accept(
        self, operation: str, *pictures: bytes, key: str | None = None,
        params: JsonObject | None = None, tenant: Tenant | None = None,
    ) -> Job:
        request = JobRequest(tenant or self.tenant, operation, params or {}, pictures)
        limits = PictureLimits.from_settings(self.settings)
        return self.acceptance.accept(request, "e", limits, uuid.uuid4().hex, key)[0]

    def enrol(self, data: bytes, tenant: Tenant | None = None) -> Job:
        return self.accept("enrol", data, params=EnrolParams().to_json(), tenant=tenant)

    def wait(self, in_row: bool, seed: int = 1) -> Job:
        """A job whose picture waits in its row, or one that enrols it."""
        return self.accept("locate", picture(seed)) if in_row else self.enrol(picture(seed))

    def finish(self, job: Job) -> None:
        """End a job well; what stays is the enrolment's."""
        if job.operation == "enrol":
            self.end(job)
            assert self.kinds() == ["faces", "images"]
            return
        claim = self.jobs.claim(job.id, job.stage, "worker", LEASE_S, 3)
        assert claim is not None
        assert self.media.get(claim.job.media[0]) == picture(1)
        assert self.jobs.finish(claim, {}, [], None)
        assert self.leaves_nothing()

    def end(
        self, job: Job, finish: Callable[..., JobOutcome] = finish_enrol, found: int = 1
    ) -> JsonObject:
        """The job's result; the first of the ``found`` faces of the picture is embedded."""
        claim = self.jobs.claim(job.id, job.stage, "worker", LEASE_S, 3)
        assert claim is not None
        landmarks = np.zeros((5, 2), np.float32)
        face = DetectedFace(Box(1, 2, 30, 31), 0.9, landmarks, "arcface5")
        context = JobContext(
            sizes=[SIZE], faces=[[face] * found],
            face_details={"quality": [[{"score": 1.0}]]},
            embeddings=[vector_of(job.id)[None]], model=MODEL,
        ).add(FaceCutouts([[CUTOUT]]))
        outcome = finish(claim.job, context, self.resources)
        assert self.jobs.finish(claim, outcome.result, [], outcome.effect)
        self.trash.empty()
        result = self.jobs.read.get(job.tenant_id, job.id).result
        assert result is not None
        return result

    def fail(self, job: Job, error: FaceError) -> None:
        claim = self.jobs.claim(job.id, job.stage, "worker", LEASE_S, 3)
        assert claim is not None
        assert self.jobs.fail(claim, error, [])
        self.trash.empty()

    def expire(self) -> None:
        Expiry(self.settings, self.jobs.upkeep, self.engine, self.media, self.clock).round()
        self.trash.empty()

    def sweep(self) -> None:
        """The tenant's objects are compared with the gallery, long after they were stored."""
        later = StoreOfLater(self.media)
        sweep = OrphanSweep(self.engine, later, lambda: time.time() + 2 * GRACE_S)
        assert sweep.run(self.tenant.id).missing == ()

    def objects(self, tenant: Tenant | None = None) -> list[str]:
        prefix = storage_keys.tenant_prefix((tenant or self.tenant).id)
        return [item.key for item in self.media.walk(prefix)]

    def kinds(self) -> list[str]:
        return [key.split("/")[1] for key in self.objects()]

    def rows(self) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(job_pictures)).all())

    def leaves_nothing(self) -> bool:
        with reading(self.engine) as connection:
            noted = connection.execute(select(discarded)).all()
        return not (self.objects() or self.rows() or noted)


@pytest.fixture(params=["directory", "minio"])
def harness(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Harness:
    settings: dict[str, object] = {"media_url": f"file://{tmp_path / 'media'}"}
    if request.param == "minio":
        server: MinioServer = request.getfixturevalue("shared_minio")
        settings = {**server.settings(server.bucket(f"waiting-{uuid.uuid4().hex}"))}
    return Harness(engine, Settings.model_validate({**settings, "row_picture_kb": 50}))


@pytest.mark.parametrize(
    ("operation", "rows", "kinds"),
    [("locate", True, []), ("locate", False, ["transient"]),
     ("enrol", True, ["images"]), ("enrol", False, ["images"])],
)
def test_where_an_upload_waits(
    harness: Harness, operation: str, rows: bool, kinds: list[str]
) -> None:
    harness.in_rows(rows)
    job = harness.accept(operation, picture(1))
    assert harness.kinds() == kinds
    assert len(harness.rows()) == (rows or operation == "enrol")
    assert harness.media.get(job.media[0]) == picture(1)


def test_large_pictures_go_to_the_store(harness: Harness) -> None:
    harness.use(harness.settings.model_copy(update={"row_picture_kb": 5}))
    harness.accept("verify", picture(1), picture(2))
    assert harness.kinds() == ["transient", "transient"]


def test_the_same_picture_twice_in_one_job(harness: Harness) -> None:
    job = harness.accept("verify", picture(1), picture(1))
    assert [harness.media.get(key) for key in job.media] == [picture(1)] * 2


def test_nothing_waits_in_rows_while_many_jobs_wait(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "CROWD", 2)
    for seed in range(4):
        harness.accept("locate", picture(seed))
    assert len(harness.rows()) == 2
    assert harness.kinds() == ["transient", "transient"]


def test_an_enrolled_picture_is_stored_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = harness.enrol(picture(1))
    (lies,) = harness.objects()
    with monkeypatch.context() as patched:
        patched.setattr(type(harness.media), "get", None)  # the end needs no bytes
        result = harness.end(job)
    assert result["image_id"] == default_image_id(picture(1))
    with reading(harness.engine) as connection:
        (row,) = connection.execute(select(images)).all()
    assert (row.size, row.width, row.height, row.format) == (len(picture(1)), *SIZE, "png")
    assert row.media_key == lies
    assert harness.media.get(row.media_key) == picture(1)
    assert harness.kinds() == ["faces", "images"]
    assert harness.rows() == []
    harness.sweep()
    harness.clock.forward(100 * HOUR_S)
    harness.expire()
    assert harness.kinds() == ["faces", "images"], "a row names them"
    with pytest.raises(JobNotFound):
        harness.jobs.retry(job.id, "decode")
    faces = FaceStore(harness.engine, harness.media, harness.clock)
    faces.delete(harness.tenant.id, result["faces"][0]["id"])
    assert harness.leaves_nothing()


def test_a_replaced_picture_goes(harness: Harness) -> None:
    face = harness.end(harness.enrol(picture(1)))["faces"][0]["id"]
    before = set(harness.objects())
    params = ReplaceParams(face_id=face).to_json()
    harness.end(harness.accept("replace", picture(2), params=params), finish_replace)
    assert harness.kinds() == ["faces", "images"]
    assert not before & set(harness.objects())
    harness.sweep()
    assert harness.kinds() == ["faces", "images"]


def test_a_picture_that_is_enrolled_already_goes(harness: Harness) -> None:
    first = harness.enrol(picture(1))
    harness.end(first)
    kept = harness.objects()
    harness.end(harness.enrol(picture(1)))
    assert set(kept) <= set(harness.objects())
    assert harness.kinds().count("images") == 1


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("operation", ["enrol", "verify"])
def test_a_job_that_its_picture_ends_takes_it_along(
    harness: Harness, operation: str, rows: bool
) -> None:
    harness.in_rows(rows)
    job = harness.accept(operation, picture(1))
    harness.fail(job, NoFace())
    if operation == "verify" and not rows:
        assert harness.kinds() == ["transient"]  # ``JobRun`` deletes it
        return
    assert harness.leaves_nothing()
    with pytest.raises(JobNotFound, match="pictures"):
        harness.jobs.retry(job.id, "decode")


@pytest.mark.parametrize("in_row", [True, False])
@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_failed_job_keeps_its_picture_for_a_while(
    harness: Harness, in_row: bool, end: str
) -> None:
    def ended() -> Job:
        job = harness.wait(in_row)
        if end == "fail":
            harness.fail(job, FaceError())
        else:
            harness.jobs.cancel(harness.tenant.id, job.id)
        return job

    late = ended()
    harness.sweep()
    assert harness.media.get(late.media[0]) == picture(1)
    harness.clock.forward(harness.settings.media_retention_h * HOUR_S + 1)
    harness.expire()
    assert harness.leaves_nothing()
    with pytest.raises(MediaNotFound):
        harness.media.get(late.media[0])
    with pytest.raises(JobNotFound, match="pictures"):
        harness.jobs.retry(late.id, "decode")

    job = ended()
    harness.sweep()
    harness.finish(harness.jobs.retry(job.id, "decode"))


@pytest.mark.parametrize("in_row", [True, False])
def test_a_picture_outlasts_a_long_wait(harness: Harness, in_row: bool) -> None:
    job = harness.wait(in_row)
    harness.clock.forward(100 * HOUR_S)
    harness.expire()
    harness.sweep()
    harness.finish(job)


@pytest.mark.parametrize("in_row", [True, False])
def test_pictures_go_with_jobs_that_are_removed(harness: Harness, in_row: bool) -> None:
    harness.fail(harness.wait(in_row), FaceError())
    harness.clock.forward(100 * HOUR_S)
    assert harness.jobs.upkeep.purge(1.0) == 1
    harness.trash.empty()
    assert harness.leaves_nothing()


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("operation", ["enrol", "locate"])
def test_one_job_for_one_idempotency_key(
    harness: Harness, operation: str, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request comes before the first is recorded."""
    harness.in_rows(rows)
    first = harness.accept(operation, picture(1), key="key")
    before = harness.objects(), harness.rows()
    read = harness.jobs.read
    answers = iter([None, first])
    with monkeypatch.context() as patched:
        patched.setattr(type(read), "by_idempotency_key", lambda *_: next(answers))
        second = harness.accept(operation, picture(1), key="key")
    assert second.id == first.id
    assert (harness.objects(), harness.rows()) == before


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("operation", ["enrol", "locate"])
def test_a_submit_that_dies_before_its_job_is_recorded(
    harness: Harness, operation: str, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.in_rows(rows)

    def die(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(harness.jobs, "submit", die)
    with pytest.raises(DatabaseUnavailable):
        harness.accept(operation, picture(1))
    assert harness.rows() == []
    stored = 0 if rows and operation == "locate" else 1
    assert len(harness.objects()) == stored
    OrphanSweep(harness.engine, harness.media).run(harness.tenant.id)
    assert len(harness.objects()) == stored, "its job may just be being recorded"
    harness.sweep()
    harness.clock.forward(100 * HOUR_S)
    harness.expire()
    assert harness.leaves_nothing()


def test_an_encrypted_tenant(harness: Harness) -> None:
    tenant = harness.tenants.create("encrypted", encrypted=True)
    job, other = harness.enrol(picture(1), tenant), harness.accept(
        "locate", picture(2), tenant=tenant
    )
    for accepted, sent in ((job, picture(1)), (other, picture(2))):
        assert storage_keys.is_encrypted(accepted.media[0])
        assert harness.media.get(accepted.media[0]) == sent
    (in_row,) = [row.data for row in harness.rows() if row.data is not None]
    assert picture(2)[100:150] not in in_row
    harness.end(job)
    keys = harness.objects(tenant)
    assert [key.split("/")[1] for key in keys] == ["faces", "images"]
    assert all(map(storage_keys.is_encrypted, keys))
    assert harness.media.get(keys[1]) == picture(1)


def test_encryption_that_begins_while_a_picture_waits(harness: Harness) -> None:
    job, _ = harness.enrol(picture(1)), harness.accept("locate", picture(2))
    begin_encrypting(harness.engine, harness.vault, harness.tenant.id, harness.clock.now)
    harness.use(harness.settings)
    key = harness.resources.keys.data_key(harness.tenant.id)
    assert key is not None
    run = EncryptExisting(harness.engine, harness.media, harness.tenant.id, key, harness.clock)
    assert run.run().uploads == 2
    harness.end(job)
    assert harness.kinds() == ["faces", "images"]
    assert all(map(storage_keys.is_encrypted, harness.objects()))
    assert run.run().nothing


@pytest.mark.parametrize("rows", [True, False])
def test_deleting_a_tenant_deletes_what_waits(harness: Harness, rows: bool) -> None:
    harness.in_rows(rows)
    harness.enrol(picture(1))
    harness.accept("locate", picture(2))
    delete_tenant(harness.engine, harness.media, harness.tenant.id, harness.clock)
    assert (harness.objects(), harness.rows()) == ([], [])


def test_bytes_that_changed_in_the_row_are_not_taken(
    harness: Harness
) -> None:
    job = harness.accept("locate", picture(1))
    changed = job.media[0].replace(storage_keys.media_hash(job.media[0]), "0" * 64)
    with pytest.raises(FaceError) as raised:
        harness.media.get(changed)
    assert raised.value.code == "media_corrupt"


@pytest.mark.parametrize(("faces", "left_out"), [("all", 2), ("largest", None)])
def test_an_enrolment_says_how_many_faces_were_left_out(
    harness: Harness, faces: Literal["all", "largest"], left_out: int | None
) -> None:
    params = EnrolParams(faces=faces).to_json()
    result = harness.end(harness.accept("enrol", picture(1), params=params), found=3)
    assert (len(result["faces"]), result.get("left_out")) == (1, left_out)
