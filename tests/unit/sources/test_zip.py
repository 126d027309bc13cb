"""Zip archives, good, damaged and hostile. Nothing is written to a disk."""

from __future__ import annotations

import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sources.archives import ArchiveLimits, ArchiveOptions
from pipeline.sources.base import ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.zip import ZipSource
from tests.unit.sources.makers import outcomes, patched, picture, taken, zipped
from tests.unit.test_picture_headers import FOREIGN_WORDS

TINY_MEMBERS = 4_000  # tests.benchmarks.sources reads 100,000


def source(path: Path, **limits: int) -> ZipSource:
    return ZipSource(path, ArchiveOptions(limits=ArchiveLimits(**limits)))


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix
    info.external_attr = mode << 16
    return info


def test_members_stream(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [
        ("ada/", b""), ("ada/1.png", picture(1)), ("zoë.png", picture(2)),
    ])
    opened = source(path)

    found = [(item.source_name, item.about.name) for item in taken(opened)]

    assert found == [("ada/1.png", "ada"), ("zoë.png", "zoë")]
    assert opened.position() == (3, 3)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_members_are_reported(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [
        ("../up.png", picture(1)), ("/abs.png", picture(2)), ("a\\..\\..\\b.png", picture(3)),
        (special("soft.png", stat.S_IFLNK | 0o777), b"/etc/passwd"),
        (special("null.png", stat.S_IFCHR | 0o666), b""),
        ("twice.png", picture(4)), ("twice.png", picture(5)),
        ("inner.zip", b"PK\x03\x04" + bytes(40)), ("empty.png", b""),
        ("bomb.png", bytes(8 << 20)), ("good.png", picture(6)),
    ])

    assert outcomes(source(path)) == [
        ("../up.png", "unsafe_name"), ("/abs.png", "unsafe_name"),
        (r"a\x5c..\x5c..\x5cb.png", "unsafe_name"), ("soft.png", "link"),
        ("null.png", "not_a_file"), ("twice.png", "taken"), ("twice.png", "duplicate_name"),
        ("inner.zip", "nested_archive"), ("empty.png", "empty"), ("bomb.png", "bomb"),
        ("good.png", "taken"),
    ]
    assert sorted(tmp_path.iterdir()) == [path]


def test_encrypted_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("1.png", picture(1)), ("2.png", picture(2))])
    patched(path, b"1.png", 6, b"\x01\x00")

    assert outcomes(source(path)) == [("1.png", "encrypted"), ("2.png", "taken")]


def test_methods_that_unpack_without_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", picture(1), zipfile.ZIP_BZIP2)
        archive.writestr("2.png", picture(2), zipfile.ZIP_LZMA)
        archive.writestr("3.png", picture(3), zipfile.ZIP_STORED)

    assert [reason for _, reason in outcomes(source(path))] == [
        "unsupported", "unsupported", "taken",
    ]


def test_a_size_that_lies(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("1.png", bytes(1 << 20)), ("2.png", picture(2))])
    patched(path, b"1.png", 22, (100).to_bytes(4, "little"))

    found = outcomes(source(path))

    assert found[0][1] in ("archive_damaged", "not_a_picture")
    assert found[1] == ("2.png", "taken")


def test_a_member_with_other_bytes_than_its_checksum(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("1.png", picture(1)), ("2.png", picture(2))])
    patched(path, b"1.png", 14, b"\0\0\0\0")

    assert outcomes(source(path)) == [("1.png", "archive_damaged"), ("2.png", "taken")]


def damage(opened: ZipSource) -> Iterator[str]:
    """What is said of the archive and of its members that cannot be read."""
    for item in opened.items():
        if isinstance(item, RefusedItem):
            if item.reason == RefusalReason.ARCHIVE_DAMAGED:
                yield item.detail
            continue
        try:
            item.read(10**6)
        except ItemRefused as error:
            yield error.detail


def test_damage_is_told_in_our_own_words(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("1.png", picture(1) * 9), ("2.png", picture(2))])
    whole, chance = path.read_bytes(), random.Random(5)
    said = set()
    for _ in range(300):
        data = bytearray(whole[: chance.randrange(4, len(whole))])
        if chance.random() < 0.6:
            data = bytearray(whole)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        said |= set(damage(source(path)))
    assert len(said) > 2
    assert not [words for words in said if FOREIGN_WORDS.search(words)]


def test_names_in_odd_encodings(tmp_path: Path) -> None:
    raw = "李".encode("gb18030")
    path = zipped(tmp_path / "a.zip", [("nn.png", picture(1)), ("uuu", picture(2))])
    data = path.read_bytes().replace(b"nn.png", raw + b".png")
    path.write_bytes(data.replace(b"uuu", "李".encode()))

    asked = ZipSource(path, ArchiveOptions(encoding="gb18030"))

    assert [name for name, _ in outcomes(source(path))] == [r"\xc0\xee.png", "李"]
    assert [name for name, _ in outcomes(asked)] == ["李.png", "李"]


def named(name: str, system: int, extra: bytes = b"") -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # else zipfile changes separators
    info.create_system, info.extra = system, extra
    return info


def people(path: Path, encoding: str | None = None) -> list[tuple[str, str]]:
    found = ZipSource(path, ArchiveOptions(encoding=encoding)).items()
    return [(item.source_name, item.about.name) for item in found]


@pytest.mark.parametrize("system", [0, 10, 14])
def test_separators_of_windows(tmp_path: Path, system: int) -> None:
    path = zipped(tmp_path / "a.zip", [
        (named("ada\\", system), b""), (named("ada\\1.png", system), picture(1)),
        (named("zoe/1.png", system), picture(2)), (named("a\\..\\b.png", system), picture(3)),
    ])
    assert people(path) == [("ada/1.png", "ada"), ("zoe/1.png", "zoe"), ("a/../b.png", "")]


def test_backslashes_of_others(tmp_path: Path) -> None:
    slashes = zipped(tmp_path / "a.zip", [(named("a\\b/1.png", 3), picture(1))])
    none = zipped(tmp_path / "b.zip", [(named("ada\\1.png", 3), picture(1))])
    assert people(slashes) == [(r"a\x5cb/1.png", r"a\x5cb")]
    assert people(none) == [("ada/1.png", "ada")]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("张三", "gbk"), ("表示", "cp932"), ("陳大文", "big5"), ("André", "cp437"), ("Иван", "cp866")],
)
def test_code_pages_that_are_told(tmp_path: Path, name: str, encoding: str) -> None:
    """In cp932 a letter may end in the byte of a backslash, as the first of these does."""
    raw = name.encode(encoding)
    path = zipped(tmp_path / "a.zip", [(named("n" * len(raw) + "\\1.png", 0), picture(1))])
    path.write_bytes(path.read_bytes().replace(b"n" * len(raw), raw))
    assert people(path, encoding) == [(f"{name}/1.png", name)]


def test_the_unicode_name_of_an_extra_field(tmp_path: Path) -> None:
    def extra(header_name: bytes) -> bytes:
        field = struct.pack("<BL", 1, zlib.crc32(header_name)) + "张三/1.png".encode()
        another = struct.pack("<HHB", 0x5455, 1, 0)
        return another + struct.pack("<HH", 0x7075, len(field)) + field

    raw = "张三".encode("gbk") + b"/1.png"
    for header_name, name in ((raw, "张三"), (b"other", r"\xd5\xc5\xc8\xfd")):
        members = [(named("nnnn/1.png", 0, extra(header_name)), picture(1))]
        path = zipped(tmp_path / "a.zip", members)
        path.write_bytes(path.read_bytes().replace(b"nnnn", raw[:4]))
        assert people(path) == [(f"{name}/1.png", name)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_archive_is_reported(tmp_path: Path, share: float) -> None:
    path = zipped(tmp_path / "a.zip", [(f"{n}.png", picture(n)) for n in range(20)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    assert outcomes(source(path)) == [("a.zip", "archive_damaged")]


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [(f"{n}.png", bytes(200_000)) for n in range(50)])

    found = outcomes(source(path, ratio_floor=1 << 20, max_ratio=50))

    assert found[-1] == ("a.zip", "bomb")
    assert len(found) < 20


def test_many_tiny_members(tmp_path: Path) -> None:
    tiny = picture()
    path = zipped(tmp_path / "a.zip", ((f"{n}.png", tiny) for n in range(TINY_MEMBERS)))

    found = outcomes(source(path))
    refused = [
        item for item in source(path, max_members=1000).items() if isinstance(item, RefusedItem)
    ]

    assert len(found) == TINY_MEMBERS
    assert {reason for _, reason in found} == {"taken"}
    assert [(item.source_name, item.reason) for item in refused] == [("a.zip", "too_many")]
