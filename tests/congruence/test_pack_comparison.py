"""``faceline packs compare``: photos in a gallery made with `dlib`, compared with `edge`."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings, load_settings
from pipeline.encryption.vault import open_vault
from pipeline.execution.results import model_of
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.records import FaceRecord
from pipeline.media.directory import DirectoryStore
from pipeline.sessions import registry
from pipeline.sessions.base import Pack
from pipeline.stages.detect import detect
from tests.conftest import models_directory
from tests.photo_gallery import AnalysedPhoto, analyse_photos, enrol_photos
from tests.photos import read
from tests.unit.infra.conftest import Faceline, data_dir, faceline

__all__ = ["data_dir", "faceline"]

MODELS = models_directory()  # before a test names another one
PEOPLE = ("Ariel_Sharon", "Colin_Powell", "Gerhard_Schroeder")


@pytest.fixture(scope="module")
def dlib_pack() -> Pack:
    settings = Settings(pack="dlib")
    return registry.load(registry.choose(settings), settings)


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[tuple[str, Path]]:
    return [
        (person.replace("_", " "), path) for person in PEOPLE
        for path in sorted((test_data / "photos" / person).glob("*.jpg"))[:2]
    ] + [("group", test_data / "photos" / "two_people.jpg")]


@pytest.fixture(scope="module")
def analysed(dlib_pack: Pack, photos: list[tuple[str, Path]]) -> list[AnalysedPhoto]:
    return analyse_photos(dlib_pack, photos)


class Shop:
    """The gallery of an application `shop`."""

    def __init__(self, folder: Path) -> None:
        settings = load_settings()
        self.engine: Engine = open_database(settings)
        self.tenant = TenantStore(self.engine, open_vault(settings)).create("shop").id
        self.media = DirectoryStore(folder / "media")
        self.store = FaceStore(self.engine, self.media)
        self.faces: list[FaceRecord] = []


@pytest.fixture
def shop(
    faceline: Faceline, data_dir: Path, dlib_pack: Pack, analysed: list[AnalysedPhoto],
    edge_pack: Pack, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    monkeypatch.setenv("FACELINE_MODELS", str(MODELS))
    made = Shop(data_dir)
    made.faces = enrol_photos(
        made.engine, made.tenant, made.media, model_of(dlib_pack), analysed
    )
    yield made
    made.engine.dispose()


def test_the_figures_are_those_of_the_faces_embedded_anew(
    faceline: Faceline, shop: Shop, photos: list[tuple[str, Path]], edge_pack: Pack, tmp_path: Path
) -> None:
    report = tmp_path / "faces.csv"
    outcome = faceline("packs", "compare", "edge", "shop", "--json", "--report", str(report))

    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["before"], found["after"]) == ("dlib", "edge")
    assert found["gallery"] == found["drawn"] == found["from_pictures"] == len(shop.faces)
    assert found["missing"] == {}
    # The bare computation: the vectors of the largest faces of each person's photos.
    names = [face.name for face in shop.faces]
    new = []
    for face in shop.faces:
        picture = read(next(path for _, path in photos if _image_id(path) == face.image_id))
        seen = max(
            detect(picture, edge_pack.detector()), key=lambda each: each.box.overlap(face.box)
        )
        embedder = edge_pack.embedder()
        new.append(embedder.embed([embedder.align(picture, seen.landmarks)])[0])
    old = [shop.store.vector(shop.tenant, face.id)[0] for face in shop.faces]
    for side, column in ((old, "right_before"), (new, "right_after")):
        cosines = np.array(side) @ np.array(side).T
        right = mated = 0
        for n, face in enumerate(shop.faces):
            apart = [m for m, other in enumerate(shop.faces) if other.image_id != face.image_id]
            if any(names[m] == names[n] for m in apart):
                mated += 1
                right += names[max(apart, key=lambda m: cosines[n, m])] == names[n]
        assert found["mated"] == mated > 0
        assert found[column] == right > 0
    rows = list(csv.DictReader(report.read_text().splitlines()))
    assert [row["person_id"] for row in rows] == [face.person_id for face in shop.faces]
    assert {row["embedded"] for row in rows} == {"picture"}


def _image_id(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def test_what_cannot_be_embedded_again_is_listed(
    faceline: Faceline, shop: Shop, tmp_path: Path
) -> None:
    cut, gone = shop.faces[0], shop.faces[1]
    keys = [item.key for item in shop.media.walk("")]
    for face in (cut, gone):
        shop.media.delete(next(key for key in keys if face.image_id in key))
    shop.media.delete(gone.face_key)
    report = tmp_path / "faces.csv"

    outcome = faceline("packs", "compare", "edge", "shop", "--json", "--report", str(report))

    found = json.loads(outcome.out)
    assert found["missing"] == {"media_not_found": 1}
    assert found["from_cutouts"] == 1
    assert found["faces"] == len(shop.faces) - 1
    rows = {row["person_id"]: row for row in csv.DictReader(report.read_text().splitlines())}
    assert rows[cut.person_id]["embedded"] == "cutout"
    assert rows[gone.person_id]["reason"] == "media_not_found"
    assert rows[gone.person_id]["nearest_after"] == ""
    assert "1 media_not_found" in faceline("packs", "compare", "edge", "shop").err


def test_it_changes_nothing(faceline: Faceline, shop: Shop) -> None:
    before = [shop.store.vector(shop.tenant, face.id)[0].tobytes() for face in shop.faces]
    assert faceline("packs", "compare", "edge", "shop", "--faces", "4").code == 0
    assert [shop.store.vector(shop.tenant, face.id)[0].tobytes() for face in shop.faces] == before


def test_a_gallery_without_faces_is_said_to_have_none(faceline: Faceline, data_dir: Path) -> None:
    settings = load_settings()
    engine = open_database(settings)
    TenantStore(engine, open_vault(settings)).create("empty")
    engine.dispose()

    outcome = faceline("packs", "compare", "dlib", "empty")

    assert outcome.code == 2
    assert "has no faces" in outcome.err
