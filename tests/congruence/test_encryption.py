"""Encryption at rest: the stored data of a tenant with a key, and after the key is gone."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select

from pipeline import storage_keys
from pipeline.accounts.deletion import delete_tenant
from pipeline.accounts.tenants import TenantStore, readable_tenant_ids, tenant_ids
from pipeline.database.engine import open_engine, purge_deleted_data, reading, writing
from pipeline.database.schema import data_keys, images, jobs, other_vectors, vectors
from pipeline.encrypt_existing import EncryptedCounts, EncryptExisting
from pipeline.encryption.data_key import DataKey
from pipeline.encryption.data_keys import (
    KeyState,
    TenantKeys,
    begin_encrypting,
    destroy_key,
    finish_encrypting,
    key_states,
)
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.errors import DecryptionFailed, MediaCorrupt, TenantNotFound
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.other_vectors import OtherVector, switch_gallery, write_other_vectors
from pipeline.gallery.records import EnrolmentRequest, NewFace, NewImage
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.snapshots import load_newest
from pipeline.index.tenant_view import TenantView
from pipeline.jobs.store import JobStore
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.types import Box, Embedding, VectorModel
from tests.gallery_factory import MODEL, vector_of
from tests.job_factory import LEASE_S, Clock, new_job

MASTER = os.urandom(KEY_BYTES)

PICTURE = b"a picture of somebody, not very large " * 40
CUTOUT = b"the face of somebody, cut out " * 20


class Harness:
    """One database and media store with an encrypted tenant, as a process sees them."""

    def __init__(self, engine: Engine, folder: Path, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        self.folder = folder
        self.vault = Vault(MASTER)
        self.tenants = TenantStore(engine, self.vault, clock)
        self.reopen()

    def reopen(self) -> None:
        """As in a process that has just started."""
        self.keys = TenantKeys(self.engine, lambda: self.vault)
        self.media = EncryptedStore(DirectoryStore(self.folder), self.keys)
        self.log = ChangeLog(self.engine, self.keys)
        self.faces = FaceStore(self.engine, self.media, self.clock, self.keys)
        self.jobs = JobStore(self.engine, self.clock, self.keys)

    def key(self, tenant: int) -> DataKey:
        found = self.keys.data_key(tenant)
        assert found is not None
        return found

    def enrol(self, tenant: int, picture: bytes = PICTURE, seed: object = "somebody") -> int:
        """A face's id."""
        owner = os.urandom(8).hex()
        name = self.media.name(tenant, picture)
        media_key = storage_keys.image_media(tenant, owner, name)
        face_key = storage_keys.face_media(tenant, owner, 0, self.media.name(tenant, CUTOUT))
        self.media.put(media_key, picture)
        self.media.put(face_key, CUTOUT)
        image = NewImage(
            image_id=hashlib.md5(picture).hexdigest(), sha256=storage_keys.media_hash(media_key),
            media_key=media_key, size=len(picture), width=2, height=2, format="JPEG",
        )
        face = NewFace(
            box=Box(1, 2, 3, 4), landmarks=[[1.0, 2.0]] * 5, score=0.9, quality={},
            face_key=face_key, embedding=vector_of(seed),
        )
        with writing(self.engine) as connection:
            made = enrol(
                connection, tenant, EnrolmentRequest(image, (face,), MODEL), self.clock(),
                self.keys.data_key(tenant),
            )
        return made.faces[0].id

    def finish_job(self, tenant: int) -> str:
        job, _ = self.jobs.submit(new_job(tenant))
        claim = self.jobs.claim(job.id, job.stage, "w", LEASE_S, 3)
        assert claim is not None
        result = {"pack": "edge", "embedding": [0.123456789, 0.5]}
        assert self.jobs.finish(claim, result, [], None)
        return job.id

    def all_bytes(self) -> bytes:
        """Everything in the media store."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def rows(self, tenant: int) -> str:
        """Everything in the tenant's rows that could tell a picture, as text."""
        found = []
        with reading(self.engine) as connection:
            for table in (images, vectors, other_vectors, jobs):
                query = select(*table.c).where(table.c.tenant_id == tenant)
                found += [str(tuple(row)) for row in connection.execute(query)]
        return "\n".join(found)


@pytest.fixture
def harness(engine: Engine, tmp_path: Path, clock: Clock) -> Harness:
    return Harness(engine, tmp_path / "media", clock)


@pytest.fixture
def tenant(harness: Harness) -> int:
    return harness.tenants.create("encrypted", encrypted=True).id


def leaks(harness: Harness, tenant: int, vector: Embedding) -> list[str]:
    """The parts of a picture, its hash, face, vector and result that can be read."""
    stored, rows = harness.all_bytes(), harness.rows(tenant)
    return [
        *(name for name, part in (
            ("picture", PICTURE[:40]), ("cutout", CUTOUT[:30]), ("vector", vector.tobytes()[:16]),
        ) if part in stored or repr(part)[2:-1] in rows),
        *(name for name, part in (
            ("hash", hashlib.sha256(PICTURE).hexdigest()), ("result", "0.123456789"),
        ) if part in rows or part.encode() in stored),
    ]


def test_nothing_of_an_encrypted_tenant_can_be_read(harness: Harness, tenant: int) -> None:
    face = harness.enrol(tenant)
    job = harness.finish_job(tenant)
    write_snapshot(harness, tenant)
    assert leaks(harness, tenant, vector_of("somebody")) == []

    vector, model = harness.faces.vector(tenant, face)
    assert np.array_equal(vector, vector_of("somebody"))
    assert model == MODEL
    (entry,) = harness.log.all_entries(tenant)
    assert np.array_equal(entry.vector, vector)
    found = harness.jobs.read.find(job)
    assert found is not None
    assert found.result == {"pack": "edge", "embedding": [0.123456789, 0.5]}
    loaded = load_newest(harness.log, harness.media, tenant, MODEL, EngineChoice())
    assert loaded is not None
    assert loaded[0].search(vector[None, :], 1, None)[0][0].label == entry.label


def write_snapshot(harness: Harness, tenant: int) -> None:
    view = TenantView(tenant, harness.log, harness.media, ViewOptions())
    view.open()
    assert view.snapshot() is not None


def test_a_tenant_without_a_key_is_stored_as_it_is(harness: Harness) -> None:
    plain = harness.tenants.create("plain").id
    harness.enrol(plain)
    harness.finish_job(plain)
    assert set(leaks(harness, plain, vector_of("somebody"))) == {
        "picture", "cutout", "vector", "hash", "result"
    }


def test_a_picture_is_recognised_under_its_tenants_key_only(harness: Harness, tenant: int) -> None:
    other = harness.tenants.create("other", encrypted=True).id
    assert harness.enrol(tenant) == harness.enrol(tenant), "the same picture is not stored twice"
    names = {harness.media.name(each, PICTURE) for each in (tenant, other)}
    assert len(names) == 2
    assert names == {harness.media.name(each, PICTURE) for each in (tenant, other)}


def test_an_object_opens_in_its_own_place_only(harness: Harness, tenant: int) -> None:
    other = harness.tenants.create("other", encrypted=True).id
    name = harness.media.name(tenant, PICTURE)
    key = storage_keys.image_media(tenant, "owner", name)
    harness.media.put(key, PICTURE)
    assert harness.media.get(key) == PICTURE
    path = harness.folder / key
    for moved in (
        storage_keys.image_media(tenant, "another", name),
        storage_keys.image_media(other, "o", name),
    ):
        (harness.folder / moved).parent.mkdir(parents=True)
        shutil.copy(path, harness.folder / moved)
        with pytest.raises(MediaCorrupt):
            harness.media.get(moved)
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(MediaCorrupt):
        harness.media.get(key)


def test_a_vector_opens_for_its_own_face_only(harness: Harness, tenant: int) -> None:
    first, second = harness.enrol(tenant), harness.enrol(tenant, b"another", "another")
    with writing(harness.engine) as connection:
        stolen = connection.execute(
            select(vectors.c.vector).where(vectors.c.face_id == first)
        ).scalar_one()
        connection.execute(
            vectors.update().where(vectors.c.face_id == second).values(vector=stolen)
        )
    with pytest.raises(DecryptionFailed):
        harness.faces.vector(tenant, second)


# Destroying the key ---------------------------------------------------------------


def test_destroying_the_key_destroys_the_data(
    harness: Harness, tenant: int, tmp_path: Path, database_url: str
) -> None:
    face, job = harness.enrol(tenant), harness.finish_job(tenant)
    write_snapshot(harness, tenant)
    picture = next(item.key for item in harness.media.walk(storage_keys.images_prefix(tenant)))
    wrapped = _wrapped(harness.engine, tenant)
    shutil.copytree(harness.folder, tmp_path / "copy-of-media")
    if database_url.startswith("sqlite"):
        purge_deleted_data(harness.engine)
        shutil.copy(tmp_path / "faceline.db", tmp_path / "copy.db")

    assert destroy_key(harness.engine, tenant)
    assert not destroy_key(harness.engine, tenant)

    harness.reopen()
    assert_unreadable(harness, tenant, face, job, picture)
    assert harness.tenants.get(tenant).disabled
    assert key_states(harness.engine) == {tenant: KeyState.DESTROYED}
    assert (tenant in tenant_ids(harness.engine), readable_tenant_ids(harness.engine)) == (True, [])
    if database_url.startswith("sqlite"):
        assert wrapped in (tmp_path / "copy.db").read_bytes()
        assert wrapped not in b"".join(
            path.read_bytes() for path in tmp_path.glob("faceline.db*")
        ), "the key is gone from the file, not only from the table"
        _copy_without_its_key(harness, tmp_path, tenant, face, job, picture)


def _copy_without_its_key(
    harness: Harness, folder: Path, tenant: int, face: int, job: str, picture: str
) -> None:
    """Check that an old copy of the database and the media is unreadable without its keys."""
    engine = open_engine(f"sqlite:///{folder / 'copy.db'}", durable=False)
    with writing(engine) as connection:
        connection.execute(data_keys.update().values(wrapped=None, state="destroyed"))
    before = Harness(engine, folder / "copy-of-media", harness.clock)
    assert_unreadable(before, tenant, face, job, picture)
    assert leaks(before, tenant, vector_of("somebody")) == []
    engine.dispose()


def assert_unreadable(harness: Harness, tenant: int, face: int, job: str, picture: str) -> None:
    for work in (
        lambda: harness.media.get(picture),
        lambda: harness.media.name(tenant, PICTURE),
        lambda: harness.faces.vector(tenant, face),
        lambda: list(harness.log.all_entries(tenant)),
        lambda: TenantView(tenant, harness.log, harness.media, ViewOptions()).open(),
    ):
        with pytest.raises(TenantNotFound):
            work()
    found = harness.jobs.read.find(job)
    assert found is not None
    assert "embedding" not in str(found.result)


def _wrapped(engine: Engine, tenant: int) -> bytes:
    with reading(engine) as connection:
        found = connection.execute(
            select(data_keys.c.wrapped).where(data_keys.c.tenant_id == tenant)
        ).scalar_one()
    assert found is not None
    return bytes(found)


def test_a_running_process_forgets_a_destroyed_key(
    harness: Harness, tenant: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.encryption.data_keys.CACHE_S", 0.2)
    face = harness.enrol(tenant)
    harness.faces.vector(tenant, face)
    destroy_key(harness.engine, tenant)
    time.sleep(0.25)
    with pytest.raises(TenantNotFound):
        harness.faces.vector(tenant, face)


def test_a_tenant_is_deleted_with_its_key(harness: Harness, tenant: int) -> None:
    harness.enrol(tenant)
    delete_tenant(harness.engine, harness.media, tenant, harness.clock)
    assert key_states(harness.engine) == {}
    assert harness.all_bytes() == b""


# Encrypting existing data ---------------------------------------------------------


def test_a_tenant_is_encrypted_while_it_works(harness: Harness) -> None:
    tenant = harness.tenants.create("plain").id
    face = harness.enrol(tenant)
    job = harness.finish_job(tenant)
    write_snapshot(harness, tenant)
    begin_encrypting(harness.engine, harness.vault, tenant, 1.0)
    begin_encrypting(harness.engine, harness.vault, tenant, 2.0)
    assert key_states(harness.engine) == {tenant: KeyState.CONVERTING}
    harness.reopen()
    new = harness.enrol(tenant, b"a new picture", "new")

    first = convert(harness, tenant)
    assert (first.pictures, first.cutouts, first.vectors, first.results) == (1, 1, 1, 1)
    assert (first.snapshots, first.missing, first.uploads) == (1, 0, 0)
    assert convert(harness, tenant).nothing
    finish_encrypting(harness.engine, tenant)

    assert key_states(harness.engine) == {tenant: KeyState.ON}
    assert leaks(harness, tenant, vector_of("somebody")) == []
    assert all(storage_keys.is_encrypted(item.key) for item in harness.media.walk(""))
    assert np.array_equal(harness.faces.vector(tenant, face)[0], vector_of("somebody"))
    assert np.array_equal(harness.faces.vector(tenant, new)[0], vector_of("new"))
    assert harness.enrol(tenant) == face, "the picture is recognised by its new mark"
    with reading(harness.engine) as connection:
        for key in connection.execute(select(images.c.media_key)).scalars():
            assert harness.media.get(key) in (PICTURE, b"a new picture")
    found = harness.jobs.read.find(job)
    assert found is not None
    assert found.result is not None
    assert found.result["embedding"] == [0.123456789, 0.5]


def test_the_vectors_of_another_pack_are_encrypted_too(harness: Harness) -> None:
    tenant = harness.tenants.create("plain").id
    face, late = harness.enrol(tenant), harness.enrol(tenant, b"another", "another")
    model = VectorModel("new", "b" * 64, 6)
    of_face, of_late = vector_of("by the new pack", 6), vector_of("late", 6)
    with reading(harness.engine) as connection:
        labels = connection.execute(select(vectors.c.face_id, vectors.c.label)).all()
    label = {row.face_id: row.label for row in labels}
    write_other_vectors(
        harness.engine, tenant, model, [OtherVector(face, label[face], of_face)]
    )
    begin_encrypting(harness.engine, harness.vault, tenant, 1.0)
    harness.reopen()
    write_other_vectors(
        harness.engine, tenant, model, [OtherVector(late, label[late], of_late)],
        harness.key(tenant),
    )

    assert convert(harness, tenant).vectors == 3
    assert convert(harness, tenant).nothing

    assert leaks(harness, tenant, of_face) == leaks(harness, tenant, of_late) == []
    switch_gallery(harness.engine, tenant, model.sha256)
    assert leaks(harness, tenant, of_face) == leaks(harness, tenant, vector_of("somebody")) == []
    assert np.array_equal(harness.faces.vector(tenant, face)[0], of_face)
    assert np.array_equal(harness.faces.vector(tenant, late)[0], of_late)


def test_an_interrupted_conversion_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = harness.tenants.create("plain").id
    faces = [harness.enrol(tenant, b"picture %d" % n, n) for n in range(7)]
    begin_encrypting(harness.engine, harness.vault, tenant, 1.0)
    harness.reopen()
    monkeypatch.setattr("pipeline.encrypt_existing.PAGE_ROWS", 3)
    puts = iter(range(5))
    real = harness.media.put

    def put(key: str, data: bytes) -> None:
        next(puts)
        real(key, data)

    with monkeypatch.context() as patched:
        patched.setattr(harness.media, "put", put)
        with pytest.raises(StopIteration):
            convert(harness, tenant)
    for number, face in enumerate(faces):
        assert np.array_equal(harness.faces.vector(tenant, face)[0], vector_of(number))
    done = convert(harness, tenant)
    assert (done.pictures, done.cutouts, done.vectors) == (2, 7, 7)
    assert convert(harness, tenant).nothing
    assert all(storage_keys.is_encrypted(item.key) for item in harness.media.walk(""))


def test_a_lost_object_does_not_stop_a_conversion(harness: Harness) -> None:
    tenant = harness.tenants.create("plain").id
    harness.enrol(tenant)
    (lost,) = harness.media.walk(storage_keys.images_prefix(tenant))
    harness.media.delete(lost.key)
    upload = storage_keys.transient_media(tenant, "o", harness.media.name(tenant, b"upload"), 0.0)
    harness.media.put(upload, b"upload")
    begin_encrypting(harness.engine, harness.vault, tenant, 1.0)
    harness.reopen()
    done = convert(harness, tenant)
    assert (done.pictures, done.cutouts, done.missing, done.uploads) == (0, 1, 1, 1)


def convert(harness: Harness, tenant: int) -> EncryptedCounts:
    key = harness.key(tenant)
    return EncryptExisting(harness.engine, harness.media, tenant, key, harness.clock).run()


def test_a_data_key_seals_for_a_label_and_marks_alike() -> None:
    raw = os.urandom(KEY_BYTES)
    key = DataKey(1, raw)
    assert key.decrypt(key.encrypt(b"data", "a"), "a") == b"data"
    assert key.encrypt(b"data", "a") != key.encrypt(b"data", "a")
    for wrong in (DataKey(2, raw), DataKey(1, os.urandom(KEY_BYTES))):
        with pytest.raises(DecryptionFailed):
            wrong.decrypt(key.encrypt(b"data", "a"), "a")
    for broken in (b"", b"short", key.encrypt(b"data", "b")):
        with pytest.raises(DecryptionFailed):
            key.decrypt(broken, "a")
    assert key.keyed_hash("x") == DataKey(1, raw).keyed_hash("x") != key.keyed_hash("y")
    assert raw.hex() not in repr(vars(key))
