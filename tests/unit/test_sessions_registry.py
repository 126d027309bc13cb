"""The packs found, the one chosen, and the error when there is none."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged, PackMissing
from pipeline.sessions import catalogue, registry
from pipeline.sessions.base import ModelTask, PackInfo
from pipeline.sessions.catalogue import licence_notice
from pipeline.sessions.checksums import check_file, verify
from pipeline.sessions.pack_on_demand import pack_on_demand
from tests.unit.sessions_release import sha256

MODELS = {"det.onnx": b"detector", "rec.onnx": b"recognizer"}


def manifest_pack(directory: Path, name: str = "", **changes: Any) -> Path:
    """A directory with a manifest and two files; ``changes`` go to its first entry."""
    directory.mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for (file, data), task in zip(MODELS.items(), ("detection", "recognition"), strict=True):
        (directory / file).write_bytes(data)
        entries.append({"file": file, "task": task, "sha256": sha256(data), "license": "MIT"})
    entries[0].update(changes)
    entries[1]["embedding"] = {"dim": 256}
    text = json.dumps({"pack": name or directory.name, "files": entries})
    (directory / "MANIFEST.json").write_text(text)
    return directory


def insightface_pack(models: Path, name: str, *, without: tuple[ModelTask, ...] = ()) -> Path:
    """The directory of an InsightFace pack, with empty files."""
    directory = models / name
    directory.mkdir(parents=True)
    for file in catalogue.INSIGHTFACE[name]:
        if file.task not in without:
            (directory / file.name).touch()
    return directory


def settings(models: Path, pack: str = "auto") -> Settings:
    return Settings(models=str(models), pack=pack)


@pytest.fixture
def no_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the packages of the `dlib` pack were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *rest: None if name == "face_recognition_models" else found(name, *rest),
    )


def test_auto_takes_the_best(tmp_path: Path) -> None:
    insightface_pack(tmp_path, "buffalo_sc")
    order = []
    for name in ("aurora", "edge"):
        manifest_pack(tmp_path / name)
        order.append(registry.choose(settings(tmp_path)).name)
    for name in ("buffalo_s", "buffalo_l"):
        insightface_pack(tmp_path, name)
        order.append(registry.choose(settings(tmp_path)).name)
    assert order == ["aurora", "edge", "buffalo_s", "buffalo_l"]
    names = [info.name for info in registry.available(settings(tmp_path))]
    assert names[:5] == ["buffalo_l", "buffalo_s", "edge", "aurora", "buffalo_sc"]


def test_auto_falls_back_to_dlib(tmp_path: Path) -> None:
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("face-recognition-models is not installed")
    manifest_pack(tmp_path / "half", task="anti_spoof")  # no detector: of no use alone
    info = registry.choose(settings(tmp_path))
    assert (info.name, info.kind, info.dimension, info.scheme) == ("dlib", "dlib", 128, "dlib5")
    assert all((info.path / file.name).is_file() for file in info.files)
    assert "face_recognition_models" not in sys.modules


@pytest.mark.usefixtures("no_dlib")
def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(PackMissing, match="models pull") as caught:
        registry.choose(settings(tmp_path / "absent"))
    assert str(tmp_path / "absent") in caught.value.message
    assert registry.available(settings(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("pack", "advice"),
    [
        ("buffalo_l", "faceline models pull buffalo_l"),
        ("dlib", "dlib-bin"),
        ("mine", "FACELINE_MODELS"),
    ],
)
@pytest.mark.usefixtures("no_dlib")
def test_a_named_pack_that_is_missing(tmp_path: Path, pack: str, advice: str) -> None:
    manifest_pack(tmp_path / "edge")
    with pytest.raises(PackMissing, match=advice) as caught:
        registry.choose(settings(tmp_path, pack))
    assert str(tmp_path) in caught.value.message


def test_an_interrupted_download_is_no_pack(tmp_path: Path) -> None:
    insightface_pack(tmp_path, "buffalo_l", without=(ModelTask.RECOGNITION,))
    assert "buffalo_l" not in {info.name for info in registry.available(settings(tmp_path))}
    with pytest.raises(PackMissing, match=r"lacks w600k_r50\.onnx.*models pull buffalo_l"):
        registry.choose(settings(tmp_path, "buffalo_l"))


def test_an_insightface_pack_without_its_extras(tmp_path: Path) -> None:
    insightface_pack(tmp_path, "buffalo_s", without=(ModelTask.LANDMARK_68, ModelTask.ATTRIBUTES))
    info = registry.choose(settings(tmp_path, "buffalo_s"))
    assert info.tasks == {ModelTask.DETECTION, ModelTask.RECOGNITION, ModelTask.LANDMARK_106}
    assert (info.kind, info.dimension) == ("insightface", 512)


def test_the_models_directory_may_be_a_pack_itself(tmp_path: Path) -> None:
    directory = manifest_pack(tmp_path / "somewhere", "mine")
    info = registry.choose(settings(directory, "mine"))
    assert (info.path, info.dimension, info.kind) == (directory, 256, "manifest")


def test_places_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    home = insightface_pack(tmp_path / "home/.insightface/models", "buffalo_sc")
    shared = manifest_pack(tmp_path / "shared/models/edge")
    defaults = Settings(models="", pack="auto")
    found = {info.name: info.path.resolve() for info in registry.available(defaults)}
    assert (found["buffalo_sc"], found["edge"]) == (home, shared)
    near = manifest_pack(here / "models/edge")
    assert registry.choose(Settings(models="", pack="edge")).path.resolve() == near


def test_hidden_directories_are_not_looked_into(tmp_path: Path) -> None:
    manifest_pack(tmp_path / ".edge-1234", "edge")
    assert "edge" not in {info.name for info in registry.available(settings(tmp_path))}


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "unknown"}, {"sha256": "AB" * 32}, {"file": "../det.onnx"}, {"file": "gone.onnx"}],
    ids=["no checksum", "upper case", "outside", "lacks a file"],
)
def test_a_manifest_that_cannot_be_used(
    tmp_path: Path, changes: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    manifest_pack(tmp_path / "broken", **changes)
    (tmp_path / "det.onnx").touch()
    with caplog.at_level(logging.WARNING):
        names = {info.name for info in registry.available(settings(tmp_path))}
    assert "broken" not in names
    assert "broken" in caplog.text
    with pytest.raises(PackDamaged):
        registry.choose(settings(tmp_path, "broken"))


@pytest.mark.parametrize("text", ["", "[]", '{"pack": "x"}', '{"pack": 1, "files": []}', "\xff"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    directory = tmp_path / "broken"
    directory.mkdir()
    (directory / "MANIFEST.json").write_text(text, encoding="latin-1")
    with pytest.raises(PackDamaged, match=r"MANIFEST\.json"):
        registry.choose(settings(tmp_path, "broken"))


def test_tasks_of_tomorrow_are_left_out(tmp_path: Path) -> None:
    manifest_pack(tmp_path / "new", task="telepathy")
    assert registry.choose(settings(tmp_path, "new")).tasks == {ModelTask.RECOGNITION}


@pytest.fixture
def small_pack(tmp_path: Path) -> PackInfo:
    return registry.choose(settings(manifest_pack(tmp_path / "edge"), "edge"))


def test_verify_reads_every_file(small_pack: PackInfo) -> None:
    seen: list[tuple[str, int, int]] = []
    verify(small_pack, lambda *step: seen.append(step))
    assert seen == [(name, len(data), len(data)) for name, data in MODELS.items()]


def test_a_changed_file_is_refused(small_pack: PackInfo) -> None:
    (small_pack.path / "rec.onnx").write_bytes(b"recognizeR")
    check_file(small_pack, small_pack.files[0])
    with pytest.raises(PackDamaged, match=rf"rec\.onnx has SHA-256 {sha256(b'recognizeR')}"):
        verify(small_pack)


def test_a_file_that_went_away(small_pack: PackInfo) -> None:
    (small_pack.path / "det.onnx").unlink()
    with pytest.raises(PackDamaged, match="cannot be read"):
        verify(small_pack)


def test_licences_are_said(tmp_path: Path, small_pack: PackInfo) -> None:
    insightface_pack(tmp_path, "buffalo_s")
    info = registry.choose(settings(tmp_path, "buffalo_s"))
    assert "non-commercial research only" in licence_notice(info)
    assert licence_notice(small_pack) == "Licences: MIT."
    assert "300-W" in licence_notice(
        PackInfo("dlib", "dlib", tmp_path, catalogue.DLIB_FILES, 128, "dlib5")
    )


def test_a_pack_on_demand_is_loaded_at_its_first_model(
    small_pack: PackInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    class Loaded:
        def detector(self) -> str:
            return "detector"

    def load(info: PackInfo, _: Settings) -> Any:
        loads.append(info.name)
        return Loaded()

    monkeypatch.setattr(registry, "load", load)
    pack: Any = pack_on_demand(small_pack, Settings())
    assert pack.info is small_pack
    assert loads == []
    assert [pack.detector(), pack.detector()] == ["detector"] * 2
    assert loads == [small_pack.name]
