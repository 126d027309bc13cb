"""A receipt is signed when no store holds what was deleted, and not before."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert

from pipeline.accounts.deletion import delete_tenant
from pipeline.database import migrate
from pipeline.database.engine import change_rows, open_engine, reading, writing
from pipeline.database.schema import backups, discarded, receipt_subjects, snapshots
from pipeline.deletions.receipts import (
    Place,
    Receipt,
    ReceiptCompletion,
    ReceiptStore,
    note_positions,
)
from pipeline.deletions.record import SubjectKind, picture_digest
from pipeline.deletions.signing import (
    parse_document,
    public_key_pem,
    signed_bytes,
    signing_key,
    verify_document,
)
from pipeline.encryption.vault import Vault
from pipeline.errors import MediaUnavailable, SignatureInvalid
from pipeline.gallery.trash import Trash
from pipeline.media.directory import DirectoryStore
from pipeline.storage_keys import snapshot_media
from tests.backup_harness import MASTER_KEY, Deployed, deployed
from tests.databases import ONE_ENGINE
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock
from tests.vector_engines import SmallIndex, engine_tables

CACHES_S = 600.0


class Receipts:
    """Upkeep's rounds, with index processes that a test names."""

    def __init__(self, here: Deployed, clock: Clock) -> None:
        self.here, self.clock = here, clock
        self.indexes: set[str] = set()
        self.read = ReceiptStore(here.engine)
        self.completion = ReceiptCompletion(
            here.engine, here.media, lambda: here.vault, lambda: self.indexes, CACHES_S, clock
        )

    def round(self) -> Receipt:
        """The newest receipt after a round."""
        self.here.journal.write_pending()
        self.completion.round()
        return self.read.newest(1)[0]

    def follow(self, process: str, applied: int | None) -> None:
        note_positions(self.here.engine, process, lambda _: applied, self.clock())

    def complete(self) -> dict[str, Any]:
        """The signed newest receipt, once all time has passed."""
        self.clock.forward(CACHES_S)
        receipt = self.round()
        assert receipt.waits_for == []
        assert receipt.document is not None
        return parse_document(receipt.document.encode())


@pytest.fixture
def receipts(engine: Engine, gallery: TenantGallery, tmp_path: Path, clock: Clock) -> Receipts:
    return Receipts(deployed(engine, tmp_path), clock)


def test_a_deleted_face_is_named_with_all_that_went(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna", name="Anna Anders", description="secret")
    gallery.add("stays")

    gallery.faces.delete(gallery.tenant, anna.id)

    receipt = receipts.round()
    assert set(receipt.waits_for) == {Place.CACHES}
    document = receipts.complete()
    assert document["application"] == {"id": gallery.tenant, "name": "tenant"}
    assert document["deleted"] == [
        {"kind": "face", "id": anna.id, "person_id": anna.person_id},
        {"kind": "picture", "id": document["deleted"][1]["id"],
         "image_digest": picture_digest(receipt.id, "id-anna")},
    ]
    assert document["rows"] == {
        "faces": 1, "vectors": 1, "images": 1, "cutout_objects": 1, "picture_objects": 1,
    }
    assert set(document["gone_since"]) == {place.value for place in Place}
    assert "Anna" not in receipt.id + json.dumps(document)
    assert "secret" not in json.dumps(document)


@ONE_ENGINE
def test_nothing_of_the_face_is_in_journal_or_receipt(
    receipts: Receipts, gallery: TenantGallery, tmp_path: Path
) -> None:
    anna = gallery.add("anna", name="Anna Anders")
    vector = vector_of("anna-0").tobytes()
    gallery.faces.delete(gallery.tenant, anna.id)
    document = json.dumps(receipts.complete())

    files = [path for path in (tmp_path / "journal").rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files) + document.encode()
    assert files
    for secret in (b"Anna", b"id-anna", anna.face_token.encode(), vector, vector.hex().encode()):
        assert secret[:16] not in written
    assert anna.person_id.encode() not in b"".join(path.read_bytes() for path in files)


def test_it_waits_for_the_objects(receipts: Receipts, gallery: TenantGallery) -> None:
    anna = gallery.add("anna")
    away = TenantGallery(
        gallery.engine, gallery.tenant, Away(receipts.here.folder), gallery.clock
    )
    away.faces.delete(gallery.tenant, anna.id)
    receipts.clock.forward(CACHES_S)

    assert receipts.round().waits_for == [Place.OBJECTS]

    Trash(gallery.engine, gallery.media, gallery.clock).empty()
    assert receipts.round().waits_for == []


def test_those_that_wait_hold_up_no_others(
    receipts: Receipts, gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.deletions.receipts.BLOCK", 2)
    away = TenantGallery(
        gallery.engine, gallery.tenant, Away(receipts.here.folder), gallery.clock
    )
    for number in range(5):  # they wait for their objects
        away.faces.delete(gallery.tenant, gallery.add(f"waits-{number}").id)
        receipts.clock.forward(1)
    newest = receipts.read.newest(1)[0]
    with writing(gallery.engine) as connection:  # but the last one
        connection.execute(delete(discarded).where(discarded.c.receipt_id == newest.id))
    receipts.clock.forward(CACHES_S)

    waits = [receipts.round().waits_for for _ in range(3)]
    assert waits[-1] == []
    waiting = receipts.read.newest(9, pending=True)
    assert [each.waits_for for each in waiting] == [[Place.OBJECTS]] * 4


class Away(DirectoryStore):
    """A store that does not answer."""

    def delete(self, key: str) -> None:
        raise MediaUnavailable


def test_it_waits_for_every_index_process(receipts: Receipts, gallery: TenantGallery) -> None:
    anna = gallery.add("anna")
    receipts.indexes = {"one", "two"}
    gallery.faces.delete(gallery.tenant, anna.id)
    receipts.clock.forward(CACHES_S)
    number = receipts.round().number
    assert number is not None

    assert receipts.round().waits_for == [Place.SNAPSHOTS, Place.INDEXES]
    receipts.follow("one", number)
    receipts.follow("two", number - 1)
    assert receipts.round().waits_for == [Place.SNAPSHOTS, Place.INDEXES]
    receipts.follow("two", None)  # it holds no index of this gallery
    assert receipts.round().waits_for == []


def test_it_waits_while_a_snapshot_holds_the_vector(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna")
    number = gallery.log.latest(gallery.tenant)
    key = snapshot_media(gallery.tenant, number, "w", "0" * 64)
    change_rows(gallery.engine, insert(snapshots).values(
        tenant_id=gallery.tenant, pack="edge", dimension=8, engine="flat", media_key=key,
        sha256="0" * 64, size=1, count=1, number=number, created_at=1.0,
    ))
    part = snapshot_media(gallery.tenant, number, "w", "a" * 64)
    gallery.media.put(part, b"a part of the snapshot")
    gallery.faces.delete(gallery.tenant, anna.id)
    receipts.clock.forward(CACHES_S)

    assert receipts.round().waits_for == [Place.SNAPSHOTS]
    change_rows(gallery.engine, snapshots.delete())
    assert receipts.round().waits_for == [Place.SNAPSHOTS]  # its object is still there
    gallery.media.delete(part)
    newer = snapshot_media(gallery.tenant, number + 9, "w", "b" * 64)
    gallery.media.put(newer, b"a newer one")

    receipt = receipts.round()
    assert receipt.waits_for == []
    assert receipt.stores[Place.SNAPSHOTS] == receipts.clock()


def test_it_waits_for_the_files_of_a_vector_engine(
    receipts: Receipts, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """One face: until the engine's files no longer hold its vector."""
    index = SmallIndex.open(gallery, vector_engine_url)
    anna = gallery.add("anna")
    gallery.add("bella")
    index.serve()
    gallery.faces.delete(gallery.tenant, anna.id)
    receipts.clock.forward(CACHES_S)
    assert receipts.round().waits_for == [Place.ENGINE]
    index.follow(2)
    receipt = receipts.round()
    assert receipt.waits_for == []
    assert receipt.stores[Place.ENGINE] == receipts.clock()
    index.close()


def test_it_waits_until_the_vector_engine_has_nothing_of_an_application(
    receipts: Receipts, gallery: TenantGallery, vector_engine_url: str
) -> None:
    index = SmallIndex.open(gallery, vector_engine_url)
    gallery.add("anna")
    index.serve()
    deletion = delete_tenant(
        gallery.engine, receipts.here.media, gallery.tenant, receipts.clock, receipts.here.journal
    )
    receipts.clock.forward(CACHES_S)
    receipts.round()
    assert Place.ENGINE in receipts.read.get(deletion).waits_for
    index.tenants.clear()
    index.follow(2)
    receipts.round()
    assert Place.ENGINE not in receipts.read.get(deletion).waits_for
    assert engine_tables(vector_engine_url) == []
    index.close()


def test_it_waits_for_the_journal(receipts: Receipts, gallery: TenantGallery) -> None:
    anna = gallery.add("anna")
    gallery.faces.delete(gallery.tenant, anna.id)
    receipts.clock.forward(CACHES_S)
    receipts.completion.round()
    assert receipts.read.newest(1)[0].waits_for == [Place.JOURNAL]

    assert receipts.round().waits_for == []


def test_an_application_is_deleted_with_a_receipt(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    gallery.enrol("group", 3)
    here = receipts.here
    receipts.indexes = {"one"}

    delete_tenant(here.engine, here.media, gallery.tenant, receipts.clock, here.journal)

    receipts.clock.forward(CACHES_S)
    receipts.follow("one", 99)  # still in memory
    whole = next(each for each in receipts.read.newest(9) if each.kind == "application")
    receipts.round()
    assert Place.INDEXES in receipts.read.get(whole.id).waits_for
    assert Place.OBJECTS in receipts.read.get(whole.id).waits_for  # what comes late is looked for
    receipts.follow("one", None)
    receipts.clock.forward(25 * 3600.0)
    Trash(here.engine, here.media, receipts.clock).delete_left_of_tenants()
    receipts.follow("one", None)
    receipts.round()

    found = receipts.read.get(whole.id)
    assert found.waits_for == []
    assert found.document is not None
    assert parse_document(found.document.encode())["deleted"] == [
        {"kind": "application", "id": gallery.tenant, "name": "tenant"}
    ]


@ONE_ENGINE
def test_what_expires_or_is_replaced_has_no_receipt(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna")
    gallery.replace(anna, "anna again")
    gallery.images.expire()

    assert receipts.read.newest(9) == []


@ONE_ENGINE
def test_it_names_the_backups_that_still_hold_it(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna")
    for name, made, removed in (("before", 5.0, None), ("gone", 5.0, 6.0), ("after", 9e12, None)):
        change_rows(gallery.engine, insert(backups).values(
            id=name, place="p", created_at=made, removed_at=removed
        ))
    gallery.faces.delete(gallery.tenant, anna.id)

    assert receipts.complete()["backups_made_before"] == ["before"]


def test_receipts_are_found_by_face_and_application(
    receipts: Receipts, gallery: TenantGallery
) -> None:
    anna, bert = gallery.add("anna"), gallery.add("bert")
    gallery.faces.delete(gallery.tenant, anna.id)
    gallery.faces.delete(gallery.tenant, bert.id)

    (found,) = receipts.read.newest(9, "tenant", (SubjectKind.FACE, bert.id))
    assert receipts.read.get(found.id[:12]) == found
    assert receipts.read.newest(9, "another") == []
    assert len(receipts.read.newest(9, pending=True)) == 2


@ONE_ENGINE
def test_only_what_a_receipt_shows_is_kept(receipts: Receipts, gallery: TenantGallery) -> None:
    anna = gallery.add("anna")
    gallery.faces.delete(gallery.tenant, anna.id)
    receipts.round()

    with reading(gallery.engine) as connection:
        kinds = connection.execute(receipt_subjects.select()).all()
    assert {row.kind for row in kinds} == {"face", "picture"}


# Checking ----------------------------------------------------------------------------


@pytest.fixture
def signed(receipts: Receipts, gallery: TenantGallery) -> dict[str, Any]:
    anna = gallery.add("anna")
    gallery.faces.delete(gallery.tenant, anna.id)
    return receipts.complete()


@ONE_ENGINE
def test_the_page_for_auditors_checks_it(
    signed: dict[str, Any], receipts: Receipts, tmp_path: Path
) -> None:
    """The lines of Python on the page, as they stand there."""
    page = Path(__file__).resolve().parents[2] / "docs" / "deletion.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    pem = public_key_pem(signing_key(receipts.here.engine, receipts.here.vault).public_key)
    (tmp_path / "deployment.pem").write_text(pem)

    def check(document: dict[str, Any]) -> int:
        (tmp_path / "receipt.json").write_text(json.dumps(document, indent=1))
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
        ).returncode

    assert check(signed) == 0
    assert check({**signed, "receipt": "another"}) == 1


@ONE_ENGINE
def test_openssl_checks_it(
    signed: dict[str, Any], receipts: Receipts, tmp_path: Path
) -> None:
    pem = public_key_pem(signing_key(receipts.here.engine, receipts.here.vault).public_key)
    (tmp_path / "key.pem").write_text(pem)
    (tmp_path / "message").write_bytes(signed_bytes(signed))
    (tmp_path / "signature").write_bytes(base64.b64decode(signed["signature"]))

    def check() -> int:
        return subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin",
             "-in", "message", "-sigfile", "signature"],
            cwd=tmp_path, capture_output=True, check=False,
        ).returncode

    assert check() == 0
    (tmp_path / "message").write_bytes(signed_bytes({**signed, "receipt": "another"}))
    assert check() != 0


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another person": lambda it: it["deleted"][0].update(person_id="x"),
    "another time": lambda it: it.update(completed_at="2030-01-01T00:00:00.000+00:00"),
    "a store less": lambda it: it["gone_since"].pop(Place.SNAPSHOTS.value),
    "a member more": lambda it: it.update(more=1),
    "no signature": lambda it: it.pop("signature"),
    "a signature of nothing": lambda it: it.update(signature=""),
    "a strange signature": lambda it: it.update(signature=5),
    "no key": lambda it: it.pop("key"),
}


@ONE_ENGINE
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_receipt_is_refused(
    change: Callable[[dict[str, Any]], object], signed: dict[str, Any]
) -> None:
    verify_document(signed)
    change(signed)

    with pytest.raises(SignatureInvalid):
        verify_document(signed)


@ONE_ENGINE
def test_a_receipt_of_another_deployment_is_refused(
    signed: dict[str, Any], receipts: Receipts, tmp_path: Path
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'stranger.db'}", durable=False)
    migrate.upgrade(engine)
    stranger = signing_key(engine, Vault(MASTER_KEY))
    engine.dispose()
    unsigned = {name: signed[name] for name in signed if name not in ("key", "signature")}
    forged = stranger.sign(unsigned)
    public = signing_key(receipts.here.engine, receipts.here.vault).public_key

    verify_document(forged)
    with pytest.raises(SignatureInvalid, match="another key"):
        verify_document(forged, public)


@ONE_ENGINE
def test_the_private_key_is_encrypted_at_rest(receipts: Receipts) -> None:
    key = signing_key(receipts.here.engine, receipts.here.vault)
    again = signing_key(receipts.here.engine, receipts.here.vault)

    assert again.public_key == key.public_key
    assert key.private.private_bytes_raw() not in key.encrypted
