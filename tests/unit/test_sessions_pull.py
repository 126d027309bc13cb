"""Fetching a pack from a server that breaks off, sends wrong bytes, or has nothing."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import DownloadFailed, PackMissing
from pipeline.sessions import catalogue, registry
from pipeline.sessions.checksums import verify
from pipeline.sessions.pull import pull
from tests.unit.sessions_release import (
    ARCHIVE,
    DETECTOR,
    FILES,
    RECOGNIZER,
    Behaviour,
    archive,
    release,
    serve,
)

PACK = "buffalo_sc"


@pytest.fixture(autouse=True)
def _tiny_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.INSIGHTFACE, PACK, FILES)
    monkeypatch.setitem(catalogue.RELEASES, PACK, release(ARCHIVE))


def fetch(behaviour: Behaviour, directory: Path) -> Path:
    with serve(behaviour) as url:
        return pull(PACK, directory, url=url, pause_s=0.001).path


def assert_installed(directory: Path) -> None:
    """The pack is complete, the registry finds it, and nothing else is left."""
    info = registry.choose(Settings(models=str(directory), pack=PACK))
    verify(info)
    assert info.path == directory / PACK
    assert info.tasks == {file.task for file in FILES}
    assert left_over(directory) == set()


def left_over(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {PACK, f".{PACK}.lock"}


def test_a_plain_download(tmp_path: Path) -> None:
    behaviour = Behaviour(ARCHIVE)
    seen: list[tuple[str, int, int]] = []
    with serve(behaviour) as url:
        pull(PACK, tmp_path / "new", url=url, progress=lambda *step: seen.append(step))
    assert_installed(tmp_path / "new")
    assert seen[-1] == ("buffalo_sc.zip", len(ARCHIVE), len(ARCHIVE))
    manifest = json.loads((tmp_path / "new" / PACK / "MANIFEST.json").read_text())
    assert {file["sha256"] for file in manifest["files"]} == {file.sha256 for file in FILES}


def test_a_pack_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    fetch(Behaviour(ARCHIVE), tmp_path)
    behaviour = Behaviour(b"")
    fetch(behaviour, tmp_path)
    assert behaviour.requests == []


def test_a_broken_pack_is_replaced(tmp_path: Path) -> None:
    fetch(Behaviour(ARCHIVE), tmp_path)
    (tmp_path / PACK / "det_500m.onnx").write_bytes(b"half")
    (tmp_path / PACK / "from-before").touch()
    fetch(Behaviour(ARCHIVE), tmp_path)
    assert_installed(tmp_path)
    assert not (tmp_path / PACK / "from-before").exists()


def test_it_goes_on_where_the_server_broke_off(tmp_path: Path) -> None:
    behaviour = Behaviour(ARCHIVE, breaks=[10_000] * 9)
    fetch(behaviour, tmp_path)
    assert_installed(tmp_path)
    starts = [0 if asked is None else int(asked[6:-1]) for asked in behaviour.requests]
    assert starts == [10_000 * turn for turn in range(10)]


def test_a_later_call_goes_on_too(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="run the same command again"):
        fetch(Behaviour(ARCHIVE, breaks=[40_000, *[0] * 20]), tmp_path)
    behaviour = Behaviour(ARCHIVE)
    fetch(behaviour, tmp_path)
    assert_installed(tmp_path)
    assert behaviour.requests == ["bytes=40000-"]


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    behaviour = Behaviour(ARCHIVE, breaks=[30_000, 50_000], ranges=False)
    fetch(behaviour, tmp_path)
    assert_installed(tmp_path)
    assert len(behaviour.requests) == 3


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    fetch(Behaviour(ARCHIVE, statuses=[503, 429, 500]), tmp_path)
    assert_installed(tmp_path)


def test_a_remainder_of_another_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / ".buffalo_sc.zip.part").write_bytes(b"something else" * 100)
    fetch(Behaviour(ARCHIVE), tmp_path)
    assert_installed(tmp_path)


@pytest.mark.parametrize("size", [len(ARCHIVE), len(ARCHIVE) + 5])
def test_a_remainder_that_is_as_long_as_the_archive(tmp_path: Path, size: int) -> None:
    (tmp_path / ".buffalo_sc.zip.part").write_bytes(bytes(size))
    if size > len(ARCHIVE):
        with pytest.raises(DownloadFailed, match="larger"):
            fetch(Behaviour(ARCHIVE), tmp_path)
    fetch(Behaviour(ARCHIVE), tmp_path)
    assert_installed(tmp_path)


def test_not_found_ends_at_once(tmp_path: Path) -> None:
    behaviour = Behaviour(ARCHIVE, statuses=[404] * 9)
    with pytest.raises(DownloadFailed, match="FACELINE_MODELS_URL"):
        fetch(behaviour, tmp_path)
    assert len(behaviour.requests) == 1
    assert not (tmp_path / PACK).exists()


def test_no_server_at_all(tmp_path: Path) -> None:
    with serve(Behaviour(ARCHIVE)) as url:
        pass
    with pytest.raises(DownloadFailed, match="no connection"):
        pull(PACK, tmp_path, url=url, pause_s=0.001)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ARCHIVE[:-1] + b"!", "SHA-256"),
        (ARCHIVE + b"more", "larger"),
        (ARCHIVE[:-1], "could not be downloaded"),
    ],
)
def test_another_archive_is_refused(tmp_path: Path, body: bytes, reason: str) -> None:
    with pytest.raises(DownloadFailed, match=reason):
        fetch(Behaviour(body), tmp_path)
    assert not (tmp_path / PACK).exists()


@pytest.mark.parametrize(
    "body",
    [
        archive({"det_500m.onnx": DETECTOR}),
        archive({"det_500m.onnx": DETECTOR, "w600k_mbf.onnx": b"other" + RECOGNIZER}),
        archive({"det_500m.onnx": DETECTOR, "../w600k_mbf.onnx": RECOGNIZER}),
        b"this is no zip",
        ARCHIVE[:-60],
    ],
    ids=["lacks a file", "changed file", "outside", "no zip", "cut"],
)
def test_an_archive_with_other_content_leaves_nothing(
    tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalogue.RELEASES, PACK, release(body))
    with pytest.raises(DownloadFailed):
        fetch(Behaviour(body), tmp_path / "models")
    assert left_over(tmp_path / "models") <= {".buffalo_sc.zip.part"}
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_nothing_but_the_expected_files_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = archive(
        {"det_500m.onnx": DETECTOR, "w600k_mbf.onnx": RECOGNIZER, "../evil": b"", "x.onnx": b""}
    )
    monkeypatch.setitem(catalogue.RELEASES, PACK, release(body))
    directory = fetch(Behaviour(body), tmp_path / "models")
    names = {path.name for path in directory.iterdir()}
    assert names == {"det_500m.onnx", "w600k_mbf.onnx", "MANIFEST.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_two_at_once(tmp_path: Path) -> None:
    with (tmp_path / f".{PACK}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DownloadFailed, match="Another process"):
            fetch(Behaviour(ARCHIVE), tmp_path)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(DownloadFailed, match="cannot be written"):
        fetch(Behaviour(ARCHIVE), tmp_path / "models")


def test_an_unknown_pack(tmp_path: Path) -> None:
    with pytest.raises(PackMissing, match="buffalo_l, buffalo_s, buffalo_sc"):
        pull("antelope", tmp_path, url="http://127.0.0.1:9")
