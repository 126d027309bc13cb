"""Manifests as spreadsheets and scripts write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import InvalidParameter
from pipeline.sources.base import About, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.manifest import ManifestSource
from tests.unit.sources.makers import outcomes, picture, taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for manifests, with two pictures."""
    place = tmp_path / "source"
    (place / "photos").mkdir(parents=True)
    (place / "photos" / "1.png").write_bytes(picture(1))
    (place / "photos" / "2.png").write_bytes(picture(2))
    return place


def manifest(folder: Path, content: str | bytes, name: str = "m.csv") -> ManifestSource:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return ManifestSource(folder / name)


def test_every_column_is_read(folder: Path) -> None:
    source = manifest(
        folder,
        "path,name,collection,external id,description,unknown\n"
        'photos/1.png, 张伟 ,staff,7,"tall, ""calm""\nsecond line",x\n',
    )

    found = list(taken(source))

    assert [(item.source_name, item.about) for item in found] == [
        ("photos/1.png", About("张伟", "staff", "7", 'tall, "calm"\nsecond line')),
    ]
    assert source.position()[0] == source.position()[1] > 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects(folder: Path, encoding: str, delimiter: str, end: str) -> None:
    rows = [["Name", "File"], ["Zoë", "photos/1.png"], ["李", "photos/2.png"]]
    text = end.join(delimiter.join(row) for row in rows)

    found = list(taken(manifest(folder, text.encode(encoding))))

    assert [(item.source_name, item.about.name) for item in found] == [
        ("photos/1.png", "Zoë"), ("photos/2.png", "李"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(folder: Path, encoding: str) -> None:
    text = "path,name\r\nphotos/1.png,张三\r\n"
    assert [item.about.name for item in manifest(folder, text.encode(encoding)).items()] == ["张三"]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gb18030", "张三"), ("cp932", "表示 太郎"), ("big5", "陳大文"), ("cp850", "André"),
     ("utf-8", "张三")],
)
def test_the_code_page_of_a_manifest_can_be_told(folder: Path, encoding: str, name: str) -> None:
    told = "gb18030" if encoding == "utf-8" else encoding
    (folder / "m.csv").write_bytes(f"name,path\n{name},photos/1.png\n".encode(encoding))
    source = ManifestSource(folder / "m.csv", encoding=told)
    assert [item.about.name for item in taken(source)] == [name]


def test_a_manifest_in_a_code_page_says_which(folder: Path) -> None:
    (row,) = manifest(folder, "path,name\nphotos/1.png,张三\n".encode("gbk")).items()
    assert isinstance(row, RefusedItem)
    assert row.reason == RefusalReason.BROKEN_ROW
    assert "save the file as UTF-8, or give --names gb18030 for '张三'" in row.detail


def test_separators_of_windows(folder: Path) -> None:
    (folder / r"odd\name.png").write_bytes(picture(3))
    (folder.parent / "up.png").write_bytes(picture(4))
    paths = [r"photos\1.png", r"odd\name.png", r"..\up.png", r"C:\photos\1.png", r"photos\none.png"]
    text = "sep=;\r\npath;name\r\n" + "".join(f"{path};x\r\n" for path in paths)

    assert outcomes(manifest(folder, text)) == [
        ("photos/1.png", "taken"), (r"odd\x5cname.png", "taken"), ("m.csv:5", "unsafe_name"),
        ("m.csv:6", "unsafe_name"), ("photos/none.png", "media_not_found"),
    ]
    anywhere = outcomes(ManifestSource(folder / "m.csv", anywhere=True))
    assert [reason for _, reason in anywhere[:3]] == ["taken"] * 3


def test_broken_rows_are_reported_with_their_lines(folder: Path) -> None:
    source = manifest(
        folder,
        b"path,name\n"
        b"photos/1.png,a\n"
        b"photos/2.png\n"
        b'"photos/2.png"x,b\n'
        b"\n"
        b",nobody\n"
        b"photos/\xff.png,c\n"
        b"photos/2.png," + b"n" * 300 + b"\n"
        b"photos/" + b"p" * 70_000 + b",d\n"
        b"photos/2.png,e\n",
    )

    found = list(source.items())

    assert [(item.source_name, isinstance(item, RefusedItem)) for item in found] == [
        ("photos/1.png", False), ("m.csv:3", True), ("m.csv:4", True), ("m.csv:6", True),
        ("m.csv:7", True), ("m.csv:8", True), ("m.csv:9", True), ("photos/2.png", False),
    ]
    assert {item.reason for item in found if isinstance(item, RefusedItem)} == {
        RefusalReason.BROKEN_ROW
    }


def test_an_open_quote_swallows_no_more_than_a_cell(folder: Path) -> None:
    rest = "".join(f"photos/{number}.png,x\n" for number in range(20_000))
    found = list(manifest(folder, f'path,name\n"photos/1.png,a\n{rest}').items())

    assert isinstance(found[0], RefusedItem)
    assert found[0].source_name == "m.csv:2"
    assert len(found) > 5000  # the reader continues behind the longest possible cell


def test_json_lines(folder: Path) -> None:
    lines = [
        json.dumps({"path": "photos/1.png", "name": "a", "id": 7, "age": {"x": 1}}),
        "", "[1]", "{", json.dumps({"path": 5.5}), json.dumps({"path": "a", "key": "b"}),
        "[" * 50_000, json.dumps({"path": "photos/2.png", "name": None}),
    ]

    found = list(manifest(folder, "\n".join(lines[:1] + lines[1:]), "m.jsonl").items())

    assert [item.source_name for item in found] == [
        "photos/1.png", "m.jsonl:3", "m.jsonl:4", "m.jsonl:5", "m.jsonl:6", "m.jsonl:7",
        "photos/2.png",
    ]
    assert found[0].about == About("a", external_id="7")


def test_paths_stay_below_the_manifest(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(picture(3))
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "way").symlink_to(folder.parent)
    paths = ["../secret.png", str(folder.parent / "secret.png"), "link.png", "way/secret.png",
             "photos", "nowhere.png", "./photos//1.png", "photos/1.png"]
    text = "path\n" + "\n".join(paths)

    assert outcomes(manifest(folder, text)) == [
        ("m.csv:2", "unsafe_name"), ("m.csv:3", "unsafe_name"), ("link.png", "link"),
        ("way/secret.png", "link"), ("photos", "not_a_file"), ("nowhere.png", "media_not_found"),
        ("photos/1.png", "taken"), ("m.csv:9", "duplicate_name"),
    ]
    found = outcomes(ManifestSource(folder / "m.csv", anywhere=True))
    assert [reason for _, reason in found[:4]] == ["taken"] * 4


def test_keys_are_read_from_a_bucket(folder: Path) -> None:
    text = "key\nstaff/1.png\nstaff/2.png\n"

    def read(key: str, limit: int) -> bytes:
        if key == "staff/1.png":
            return picture(1)
        raise ItemRefused(RefusalReason.NOT_FOUND)

    assert outcomes(manifest(folder, text)) == [("m.csv:2", "no_bucket"), ("m.csv:3", "no_bucket")]
    assert outcomes(ManifestSource(folder / "m.csv", objects=read)) == [
        ("key staff/1.png", "taken"), ("key staff/2.png", "media_not_found"),
    ]


@pytest.mark.parametrize("content", [
    "", "name,age\nx,1\n", "path,file\na,b\n", "x" * 100_000,
])
def test_files_that_are_not_manifests(folder: Path, content: str) -> None:
    with pytest.raises(InvalidParameter):
        list(manifest(folder, content).items())
