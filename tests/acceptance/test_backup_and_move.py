"""An embedded stack is backed up while it serves, moved to PostgreSQL and S3, lost and restored:
clients keep their credentials and find the same people under the same ids."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.database.engine import open_engine
from pipeline.deletions.receipts import ReceiptStore
from tests.local_service import LocalService
from tests.servers import MinioServer
from tests.waiting import TIMEOUT_S, eventually

Json = dict[str, Any]


@dataclass
class Shop:
    """An application's calls in documents a and d, with the credentials it got once."""

    api_key: str
    apid: str
    kvalue: str
    url: str = ""

    def person(self, operation: str, photo: Path) -> list[Json]:
        answer = requests.post(
            f"{self.url}/v1/{operation}", timeout=TIMEOUT_S, headers={"X-API-Key": self.api_key},
            data={"img": base64.b64encode(photo.read_bytes()).decode()},
        ).json()
        found = answer["message"]
        return found if answer["status"] == "OK" else []

    def search(self, photo: Path) -> list[Json]:
        return self.person("searchface", photo)

    def delete(self, person_id: str) -> None:
        answer = requests.post(
            f"{self.url}/v1/delface", timeout=TIMEOUT_S, headers={"X-API-Key": self.api_key},
            data={"person_id": person_id},
        ).json()
        assert answer["status"] == "OK", answer

    def faces(self) -> list[Json]:
        answer = requests.get(
            f"{self.url}/api/face", timeout=TIMEOUT_S,
            data={"Apid": self.apid, "Kvalue": self.kvalue},
        ).json()
        found: list[Json] = answer["faces"]
        return found


@pytest.fixture
def machine(tmp_path: Path, edge_models: Path) -> Iterator[LocalService]:
    made = LocalService(
        tmp_path, edge_models, pack="edge", port=0, detection_sizes="64",
        journal_url=f"file://{tmp_path / 'journal'}", intermediate_s=1, result_cache_s=1,
    )
    yield made
    made.close()


@pytest.fixture
def photos(test_data: Path) -> list[Path]:
    people = sorted((test_data / "lfw_aligned").iterdir())[:4]
    return [min(person.glob("*.jpg")) for person in people]


def done(machine: LocalService, *arguments: str) -> str:
    ended = machine.faceline(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def serve(machine: LocalService, shop: Shop) -> None:
    process = machine.begin("up")
    eventually(lambda: machine.running() is not None or process.poll() is not None, "it serves")
    running = machine.running()
    assert running is not None, machine.said()
    shop.url = running.url


def stop(machine: LocalService) -> None:
    assert machine._process is not None
    machine._process.send_signal(signal.SIGINT)
    assert machine._process.wait(TIMEOUT_S) == 0, machine.said()


def new_shop(machine: LocalService) -> Shop:
    lines = done(machine, "apps", "create", "shop")
    told = dict(re.findall(r"^(\S+) +(\S+)$", lines, re.MULTILINE))
    return Shop(told["X-API-Key"], told["Apid"], told["Kvalue"])


def test_backed_up_moved_lost_and_restored(
    machine: LocalService, photos: list[Path], tmp_path: Path, shared_minio: MinioServer,
    postgres_url: str,
) -> None:
    place = str(tmp_path / "place")
    done(machine, "init")
    shop = new_shop(machine)
    serve(machine, shop)
    anna, bert, carl, dora = photos
    ids = [shop.person("addface", each)[0]["person_id"] for each in photos[:3]]

    done(machine, "backup", place)
    assert "whole" in done(machine, "restore", place, "--verify")
    (dora_id,) = [each["person_id"] for each in shop.person("addface", dora)]
    shop.delete(ids[0])
    before = {each.name: shop.search(each) for each in photos}
    faces = shop.faces()
    assert [len(before[each.name]) for each in photos] == [0, 1, 1, 1]
    assert len(faces) == 3
    _check_receipt(machine, ids[0], tmp_path)
    stop(machine)
    refused = machine.faceline("restore", place)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr

    _move(machine, shared_minio.settings(f"{shared_minio.url}/moved"), postgres_url)
    serve(machine, shop)
    assert {each.name: shop.search(each) for each in photos} == before
    assert shop.faces() == faces
    assert shop.person("addface", anna)[0]["person_id"] not in (*ids, dora_id)
    stop(machine)

    for name in ("DATABASE_URL", "MEDIA_URL"):
        del machine.environment[f"FACELINE_{name}"]
    key = (machine.data_dir / "master.key").read_bytes()
    shutil.rmtree(machine.data_dir)
    machine.data_dir.mkdir(mode=0o700)
    (machine.data_dir / "master.key").write_bytes(key)
    told = json.loads(machine.faceline("restore", place, "--json").stdout)
    assert [each["name"] for each in told if each["kind"] == "face"] == [ids[0]]
    serve(machine, shop)
    assert shop.search(anna) == []
    assert {each.name: shop.search(each) for each in (bert, carl)} == {
        each.name: before[each.name] for each in (bert, carl)
    }
    assert shop.search(dora) == []
    assert [face["Fid"] for face in shop.faces()] == [face["Fid"] for face in faces[:2]]
    stop(machine)


def _check_receipt(machine: LocalService, person_id: str, folder: Path) -> None:
    """The running stack completes the receipt, which is then checked offline."""
    engine = open_engine(f"sqlite:///{machine.data_dir / 'faceline.db'}")
    reader = ReceiptStore(engine)
    eventually(lambda: not reader.newest(1)[0].waits_for, "the receipt is complete")
    engine.dispose()
    (receipt,) = json.loads(done(machine, "receipts", "list", "--app", "shop", "--json"))
    signed, key = folder / "receipt.json", folder / "key.pem"
    told = done(machine, "receipts", "show", receipt["receipt"], "--to", str(signed))
    assert "1 backups that were made before still hold it" in told
    key.write_text(machine.faceline("receipts", "key").stdout)
    assert person_id in signed.read_text()
    assert "genuine" in done(machine, "receipts", "verify", str(signed), "--key", str(key))
    signed.write_text(signed.read_text().replace(person_id, "0" * len(person_id)))
    assert machine.faceline("receipts", "verify", str(signed), "--key", str(key)).returncode == 1


def _move(machine: LocalService, media: dict[str, str], database_url: str) -> None:
    for name in ("media_access_key", "media_secret_key"):
        machine.environment[f"FACELINE_{name.upper()}"] = media[name]
    told = done(machine, "move", "--to", database_url, "--to", media["media_url"])
    assert "3 faces" in told
    machine.environment["FACELINE_DATABASE_URL"] = database_url
    machine.environment["FACELINE_MEDIA_URL"] = media["media_url"]
    again = machine.faceline("move", "--to", database_url, "--to", media["media_url"])
    assert again.returncode == 2
