"""A service whose applications are encrypted at rest: it answers as any other, and its
data on disks and in Redis reveal nothing; less still once the key is destroyed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from pipeline import storage_keys
from pipeline.database.engine import purge_deleted_data
from pipeline.encryption.data_keys import CACHE_S, open_keys
from pipeline.gallery.change_log import ChangeLog
from pipeline.media.open import open_media
from tests.contract_clients import ApidClient, SearchClient
from tests.face2_client import base64_of
from tests.group_client import FaceGroupClient
from tests.stack import Stack

# Seconds after which no process knows a destroyed key any more, and a busy machine's share.
FORGOTTEN_S = CACHE_S + 8.0


@pytest.fixture(scope="module")
def sealed(
    tmp_path_factory: pytest.TempPathFactory, edge_models: Path
) -> Iterator[Stack]:
    """Stages on workers of their own, so that intermediate values are in Redis."""
    folder = tmp_path_factory.mktemp("sealed")
    with Stack(folder, edge_models, encrypt_at_rest=True, intermediate_s=600) as stack:
        stack.start_index()
        stack.start_worker(stages="decode,detect", concurrency=1)
        stack.start_worker(stages="embed", concurrency=1)
        stack.start_upkeep()
        yield stack.start_shim()


def test_it_answers_and_leaves_nothing_to_read(sealed: Stack, photos: Path) -> None:
    picture = (photos / "obama.jpg").read_bytes()
    text = base64.b64encode(picture).decode()
    a = ApidClient(sealed)
    b, d = FaceGroupClient(sealed, a.credentials), SearchClient(sealed, a.credentials)
    fid = a.enrol(text, "somebody")
    (face,) = b.ask("GET", "/api/faces")["face"]
    assert face["id"] == fid
    assert [hit["name"] for hit in d.search(text)] == ["somebody"]
    client = sealed.client(a.credentials)
    features = client.call("features", {"image": text}).json()["data"]["features"]
    again = client.call("features", {"image": base64_of(photos / "biden.jpg")}).json()
    assert again["code"] == 0

    tenant = a.credentials.tenant_id
    tenant_keys = open_keys(sealed.settings, sealed.cluster.engine)
    (entry,) = ChangeLog(sealed.cluster.engine, tenant_keys).all_entries(tenant)
    media = open_media(sealed.settings, tenant_keys)
    (stored,) = media.walk(storage_keys.images_prefix(tenant))
    assert media.get(stored.key) == picture
    needles = {
        "the picture": picture[1000:1040],
        "its SHA-256": storage_keys.plain_name(picture).encode(),
        "the vector": np.ascontiguousarray(entry.vector).tobytes()[:24],
        "the features": json.dumps(features[:3]).strip("[]").replace(" ", "").encode(),
    }
    purge_deleted_data(sealed.cluster.engine)
    assert readable(sealed, needles) == []
    # The search itself would find them: the same in an application that is not encrypted.
    plain = sealed.add_credentials(sealed.tenants.create("plain"))
    ApidClient(sealed, plain).enrol(text)
    sealed.client(plain).call("features", {"image": text})
    purge_deleted_data(sealed.cluster.engine)
    assert {what for what, _ in readable(sealed, needles)} == set(needles)


def readable(stack: Stack, needles: dict[str, bytes]) -> list[tuple[str, str]]:
    """The needles that stand unencrypted in a file of the service or in Redis."""
    places = {
        str(path): path.read_bytes()
        for path in stack.cluster.folder.rglob("*") if path.is_file()
    }
    with Redis.from_url(stack.redis.url) as redis:
        places["Redis"] = b"\n".join(redis.dump(key) or b"" for key in redis.scan_iter())
    return [
        (what, place)
        for place, data in places.items()
        for what, needle in needles.items() if needle in data
    ]


def test_a_destroyed_key_takes_all_with_it_in_seconds(sealed: Stack, obama: str) -> None:
    a = ApidClient(sealed)
    fid = a.enrol(obama, "somebody")
    name = sealed.tenants.get(a.credentials.tenant_id).name
    assert a.call("GET", "singleface", Fid=fid).json()["msg_code"] == 1

    sealed.cluster.command("secrets", "destroy-tenant-key", name, "--yes")

    assert a.call("GET", "singleface", Fid=fid).json()["msg_code"] != 1
    # Enabled again, it has nothing: no process serves from its cache.
    sealed.tenants.set_disabled(a.credentials.tenant_id, False)
    time.sleep(FORGOTTEN_S)
    for call in (("POST", "face"), ("GET", "match")):
        answer = a.call(*call, Fid=fid, Fimg=obama)
        assert answer.json()["msg_code"] != 1, answer.text
    assert sealed.health() is not None
