"""Batches of stored objects, over HTTP, from the request to the last item: a bucket, a worker,
upkeep that reads."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from minio import Minio

from tests.databases import ONE_DATABASE, open_database
from tests.face2_client import Credentials, Json
from tests.servers import MinioServer
from tests.stack import Stack

WITHIN_S = 180.0

# Its statements are tested on both databases: `tests/congruence/test_batch_requests.py`.
pytestmark = ONE_DATABASE

PEOPLE = ("Ariel_Sharon/Ariel_Sharon_0001.jpg", "Colin_Powell/Colin_Powell_0001.jpg")


class Imports:
    """A service that imports from a bucket."""

    def __init__(self, stack: Stack, bucket: str, client: Minio, photos: Path) -> None:
        self.stack = stack
        self.other = stack.add_tenant("other")
        self.bucket = bucket
        self._client = client
        self.photos = photos

    @property
    def own(self) -> Credentials:
        return self.stack.credentials

    def put(self, tenant: Credentials, key: str, data: bytes) -> None:
        self._client.put_object(
            self.bucket, f"in/t{tenant.tenant_id}/{key}", io.BytesIO(data), len(data)
        )

    def make(self) -> None:
        self._client.make_bucket(self.bucket)

    def empty(self) -> None:
        """Remove the bucket."""
        for found in self._client.list_objects(self.bucket, recursive=True):
            self._client.remove_object(self.bucket, str(found.object_name))
        self._client.remove_bucket(self.bucket)

    def waiting(self, batch: Json) -> Json:
        """Wait until the batch waits; the reason that it gives."""
        until = time.monotonic() + WITHIN_S
        while not (told := self.ask("GET", batch["href"])["waits_for"]):
            assert time.monotonic() < until, self.stack.cluster.logs()
            time.sleep(0.1)
        found: Json = told
        return found

    def photo(self, name: str) -> bytes:
        return (self.photos / name).read_bytes()

    def ask(self, method: str, path: str, tenant: Credentials | None = None, **more: Any) -> Json:
        headers = {"X-API-Key": (tenant or self.own).api_key}
        answer = requests.request(
            method, f"{self.stack.url}{path}", headers=headers, timeout=60, **more
        )
        assert answer.status_code in (200, 202), answer.text
        found: Json = answer.json()
        return found

    def ended(self, batch: Json, tenant: Credentials | None = None) -> Json:
        """The batch once it is done."""
        until = time.monotonic() + WITHIN_S
        while True:
            now = self.ask("GET", batch["href"], tenant)
            if now["status"] == "done":
                return now
            assert time.monotonic() < until, f"{now}\n{self.stack.cluster.logs()}"
            time.sleep(0.1)

    def outcomes(self, batch: Json, tenant: Credentials | None = None) -> list[tuple[str, ...]]:
        """(name in the source, outcome, reason or person) of every item, by pages of two."""
        found: list[tuple[str, ...]] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", f"{batch['href']}/items?limit=2&after={after}", tenant)
            found += [
                (item["source_name"], item["status"], item["reason"] or item["name"])
                for item in page["items"]
            ]
            after = page["next"]
        return found

    def names(self, tenant: Credentials | None = None) -> list[str]:
        """The names of the enrolled people, as document b lists them."""
        listed = self.ask("GET", "/api/faces?pageOffset=0&pageSize=100", tenant)
        return sorted(face["name"] for face in listed["data"]["face"])


@pytest.fixture(scope="module")
def imports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backend: str,
    edge_models: Path, shared_minio: MinioServer, test_data: Path,
) -> Iterator[Imports]:
    client = shared_minio.client()
    bucket = f"imports-{os.urandom(4).hex()}"
    client.make_bucket(bucket)
    settings = {
        "import_url": f"{shared_minio.url}/{bucket}/in",
        "media_access_key": shared_minio.access_key,
        "media_secret_key": shared_minio.secret_key,
    }
    with (
        open_database(request, backend) as database,
        Stack(tmp_path_factory.mktemp("imports"), edge_models, **settings, **database) as stack,
    ):
        stack.start_upkeep()
        stack.start_worker(stages="bulk", concurrency=1)
        yield Imports(stack.start_shim(), bucket, client, test_data / "photos")


def test_a_list_of_objects(imports: Imports) -> None:
    ariel, colin = map(imports.photo, PEOPLE)
    for key, data in (("new/1.jpg", ariel), ("2.jpg", colin), ("3.jpg", ariel), ("4.jpg", b"no")):
        imports.put(imports.own, key, data)
    imports.put(imports.other, "secret.jpg", ariel)
    secret = f"t{imports.other.tenant_id}/secret.jpg"
    listed = [
        {"key": "new/1.jpg", "name": "Ariel"}, {"key": "2.jpg"}, {"key": "3.jpg"},
        {"key": "4.jpg"}, {"key": "5.jpg"}, {"key": "2.jpg"}, {"key": f"../{secret}"},
        {"key": f"/in/{secret}"}, {"key": secret}, {"key": f"x/../../{secret}"},
    ]

    begun = imports.ask("POST", "/batches", json={"items": listed})
    ended = imports.ended(begun)

    assert imports.outcomes(begun) == [
        ("new/1.jpg", "enrolled", "Ariel"), ("2.jpg", "enrolled", "2"),
        ("3.jpg", "duplicate", "same_picture"), ("4.jpg", "rejected", "not_a_picture"),
        ("5.jpg", "rejected", "media_not_found"), ("(item 6)", "rejected", "duplicate_name"),
        ("(item 7)", "rejected", "unsafe_name"), ("(item 8)", "rejected", "unsafe_name"),
        (secret, "rejected", "media_not_found"), ("(item 10)", "rejected", "unsafe_name"),
    ]
    assert (ended["items"], ended["enrolled"], ended["duplicate"], ended["rejected"]) == (
        10, 2, 1, 7,
    )
    assert imports.names() == ["2", "Ariel"]
    assert imports.names(imports.other) == []

    # The missing picture is there now.
    imports.put(imports.own, "5.jpg", imports.photo("George_W_Bush/George_W_Bush_0001.jpg"))
    again = imports.ask("POST", f"{begun['href']}/retry", json={"reasons": ["media_not_found"]})
    assert again["retried"] == 2
    assert imports.ended(begun)["enrolled"] == 3
    assert imports.names() == ["2", "5", "Ariel"]


def test_all_below_a_prefix_is_the_tenants_own(imports: Imports) -> None:
    for tenant, name in ((imports.other, "zoe"), (imports.own, "eve")):
        imports.put(tenant, f"2026/{name}/1.jpg", imports.photo(PEOPLE[0]))
    imports.put(imports.other, "2025/x.jpg", imports.photo(PEOPLE[1]))
    imports.put(imports.other, "2026/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", imports.photo(PEOPLE[1]))

    begun = imports.ask("POST", "/batches", imports.other, json={"prefix": "2026/"})

    ended = imports.ended(begun, imports.other)
    assert (ended["items"], ended["skipped"]) == (1, 1)
    assert imports.outcomes(begun, imports.other) == [("2026/zoe/1.jpg", "enrolled", "zoe")]
    assert imports.names(imports.other) == ["zoe"]
    (item,) = imports.ask("GET", f"{begun['href']}/items", imports.other)["items"]
    assert item["collection"] == "default"
    request = {"prefix": "2026/", "take_litter": True}
    both = imports.ask("POST", "/batches", imports.other, json=request)
    assert imports.ended(both, imports.other)["items"] == 2


def test_a_bucket_that_comes_back(imports: Imports) -> None:
    """The batch says why it waits, and continues without help."""
    group = {"groupId": "late", "groupName": "Late"}
    assert imports.ask("POST", "/api/faceGroups", json=group)["code"] == 0
    imports.empty()
    begun = imports.ask("POST", "/batches", json={"prefix": "late/", "collection": "late"})
    told = imports.waiting(begun)
    assert (told["code"], told["message"].split(":")[0]) == (
        "invalid_parameter", f"There is no bucket {imports.bucket}",
    )
    assert told["retry_at"] > time.time()

    imports.make()
    imports.put(imports.own, "late/eve.jpg", imports.photo(PEOPLE[1]))
    ended = imports.ended(begun)
    assert (ended["items"], ended["waits_for"], ended["error"]) == (1, None, None)
    page = "/api/faceGroups/late?pageOffset=0&pageSize=10"
    assert imports.ask("GET", page)["data"]["totalFaces"] == 1
