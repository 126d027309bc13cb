"""Folders with files, links, devices and odd names."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InvalidParameter
from pipeline.media.pictures import PictureLimits
from pipeline.sources import folder
from pipeline.sources.base import Item
from pipeline.sources.folder import FolderSource
from tests.unit.sources.makers import LIMITS, outcomes, picture, taken


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_one_folder_a_person(tmp_path: Path) -> None:
    for number, name in enumerate(("zoe/2.png", "zoe/1.png", "ada/1.png", "solo.png")):
        put(tmp_path / name, picture(number))
    source = FolderSource(tmp_path)

    found = [(item.source_name, item.about.name) for item in taken(source)]

    assert found == [
        ("ada/1.png", "ada"), ("solo.png", "solo"), ("zoe/1.png", "zoe"), ("zoe/2.png", "zoe"),
    ]
    assert source.position() == (3, 3)
    assert outcomes(FolderSource(tmp_path, "person"))[1] == ("solo.png", "no_person")


def test_what_is_no_picture_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    good = put(tmp_path / "z.png", picture())
    put(tmp_path / "cut.png", picture()[:20])
    put(tmp_path / "empty.jpg", b"")
    put(tmp_path / "inner.zip", b"PK\x03\x04" + bytes(30))
    put(tmp_path / "text.jpg", b"no picture")
    put(tmp_path / "wrong-ending.txt", picture(1))
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it would take a terabyte to read
    (tmp_path / "link.png").symlink_to(good)
    os.mkfifo(tmp_path / "pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s.png"))

    found = dict(outcomes(FolderSource(tmp_path)))
    listener.close()

    assert found == {
        "cut.png": "picture_corrupt", "empty.jpg": "empty", "huge.jpg": "media_too_large",
        "inner.zip": "nested_archive", "link.png": "link", "pipe.png": "not_a_file",
        "s.png": "not_a_file", "text.jpg": "not_a_picture", "wrong-ending.txt": "taken",
        "z.png": "taken",
    }


def test_no_link_leads_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    put(outside / "1.png", picture())
    put(inside / "ada" / "1.png", picture())
    (inside / "bob").symlink_to(outside)
    (tmp_path / "root").symlink_to(inside)

    assert outcomes(FolderSource(tmp_path / "root")) == [("ada/1.png", "taken"), ("bob", "link")]


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.png", picture())
    victim = put(tmp_path / "source" / "1.png", picture(1))
    items = FolderSource(tmp_path / "source").items()
    found = next(items)
    assert isinstance(found, Item)
    victim.unlink()
    victim.symlink_to(secret)

    class Again(FolderSource):
        def items(self) -> Any:
            yield found

    assert outcomes(Again(tmp_path)) == [("1.png", "link")]


def test_unreadable_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png", picture())
    put(tmp_path / "b" / "1.png", picture())
    put(tmp_path / "c.png", picture())
    real = os.open

    def guarded(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if path in ("a.png", "b"):  # root may read everything: the refusal is made here
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", guarded)

    assert outcomes(FolderSource(tmp_path)) == [
        ("a.png", "unreadable"), ("b", "unreadable"), ("c.png", "taken"),
    ]


def test_names_in_no_encoding(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"\xff\xfe.png"), picture())

    found = list(taken(FolderSource(tmp_path)))

    assert [(item.source_name, item.about.name) for item in found] == [
        (r"\xff\xfe.png", r"\xff\xfe"),
    ]


def test_depth_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_DEPTH", 2)
    put(tmp_path / "a" / "b" / "c" / "1.png", picture())
    put(tmp_path / "a" / "b" / "1.png", picture())

    assert outcomes(FolderSource(tmp_path)) == [("a/b/1.png", "taken"), ("a/b/c", "too_deep")]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_descriptors_are_closed(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", picture())
    put(tmp_path / "a" / "2.png", picture())
    before = open_files()

    items = FolderSource(tmp_path).items()
    next(items)
    items.close()  # type: ignore[attr-defined]

    assert open_files() == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter):
        outcomes(FolderSource(tmp_path / "nowhere"))


def test_limits_are_the_services_own(tmp_path: Path) -> None:
    put(tmp_path / "1.png", picture())
    narrow = PictureLimits(max_bytes=10, min_side=9, max_side=100, max_pixels=10_000)
    large = PictureLimits(max_bytes=LIMITS.max_bytes, min_side=17, max_side=99, max_pixels=9999)

    assert outcomes(FolderSource(tmp_path), narrow) == [("1.png", "media_too_large")]
    assert outcomes(FolderSource(tmp_path), large) == [("1.png", "picture_out_of_range")]


def test_names_of_people_in_a_code_page(tmp_path: Path) -> None:
    """Two folders that read alike stay two items."""
    for number, raw in enumerate(("张三".encode(), "张三".encode("gbk"))):
        put(tmp_path / os.fsdecode(raw) / "1.png", picture(number))
    found = list(FolderSource(tmp_path, encoding="gb18030").items())
    assert [item.about.name for item in found] == ["张三", "张三"]
    assert len({item.source_name for item in found}) == 2
