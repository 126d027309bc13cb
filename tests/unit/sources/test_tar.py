"""Tar archives, good, damaged and hostile. Nothing is written to a disk."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from pipeline.media.pictures import PictureLimits
from pipeline.sources.archives import ArchiveLimits, ArchiveOptions
from pipeline.sources.base import Item, RefusedItem
from pipeline.sources.tar import TarSource
from tests.unit.sources.makers import LIMITS, member, outcomes, picture, taken, tar

TINY_MEMBERS = 4_000  # tests.benchmarks.sources reads 100,000


def source(path: Path, **limits: int) -> TarSource:
    return TarSource(path, ArchiveOptions(limits=ArchiveLimits(**limits)))


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_stream(tmp_path: Path, compression: str, form: int) -> None:
    long = "d" * 90 + "/" + "n" * (90 if form == tarfile.USTAR_FORMAT else 200) + ".png"
    path = tar(tmp_path / "a", [
        member("ada", type=tarfile.DIRTYPE), member("./ada/1.png", picture(1)),
        member(long, picture(2)), member("zoe.png", picture(3)),
    ], compression, form)
    opened = source(path)

    found = [(item.source_name, item.about.name) for item in taken(opened)]

    assert found == [("ada/1.png", "ada"), (long, "d" * 90), ("zoe.png", "zoe")]
    done, whole = opened.position()
    assert 0 < done <= whole == path.stat().st_size


def test_unread_members_are_skipped(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", [member(f"{n}.png", picture(n)) for n in range(5)], "gz")

    assert [item.source_name for item in source(path).items()] == [f"{n}.png" for n in range(5)]


def test_hostile_members_are_reported(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [
        member("../up.png", picture(1)), member("/abs.png", picture(2)),
        member("a/../../b.png", picture(3)), member("C:\\x.png", picture(4)),
        member("soft.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard.png", type=tarfile.LNKTYPE, linkname="../up.png"),
        member("null.png", type=tarfile.CHRTYPE), member("pipe.png", type=tarfile.FIFOTYPE),
        member("twice.png", picture(5)), member("./twice.png", picture(6)),
        member("inner.zip", b"PK\x03\x04" + bytes(40)), member("empty.png", b""),
        member("text.png", b"no picture"), member("good.png", picture(7)),
    ])

    assert outcomes(source(path)) == [
        ("../up.png", "unsafe_name"), ("/abs.png", "unsafe_name"),
        ("a/../../b.png", "unsafe_name"), (r"C:\x5cx.png", "unsafe_name"),
        ("soft.png", "link"), ("hard.png", "link"), ("null.png", "not_a_file"),
        ("pipe.png", "not_a_file"), ("twice.png", "taken"), ("./twice.png", "duplicate_name"),
        ("inner.zip", "nested_archive"), ("empty.png", "empty"), ("text.png", "not_a_picture"),
        ("good.png", "taken"),
    ]
    assert sorted(tmp_path.iterdir()) == [path]


def test_names_in_odd_encodings(tmp_path: Path) -> None:
    raw = ["李".encode("gb18030"), "李".encode(), b"\xff\xfe"]
    names = [text.decode("utf-8", "surrogateescape") + ".png" for text in raw]
    path = tar(
        tmp_path / "a.tar", [member(name, picture(n)) for n, name in enumerate(names)],
        form=tarfile.GNU_FORMAT,
    )

    plain = [name for name, _ in outcomes(source(path))]
    asked = TarSource(path, ArchiveOptions(encoding="gb18030"))

    assert plain == [r"\xc0\xee.png", "李.png", r"\xff\xfe.png"]
    # Read as asked, the first is the second's name.
    assert [reason for _, reason in outcomes(asked)] == ["taken", "duplicate_name", "taken"]


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_reported(tmp_path: Path, compression: str, share: float) -> None:
    path = tar(
        tmp_path / "a", [member(f"{n}.png", picture(n) * 40) for n in range(40)], compression
    )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    found = outcomes(source(path))

    assert found[-1] == ("a", "archive_damaged")
    assert {reason for _, reason in found[:-1]} <= {"taken", "archive_damaged"}


def test_an_archive_that_ends_between_members_is_truncated(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [member("1.png", picture(1)), member("2.png", picture(2))])
    path.write_bytes(path.read_bytes()[:1024])  # the first member, whole

    assert outcomes(source(path)) == [("1.png", "taken"), ("a.tar", "archive_damaged")]


def test_noise_behind_a_member(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [member("1.png", picture(1))])
    path.write_bytes(path.read_bytes()[:1024] + b"\x55" * 4096)

    assert outcomes(source(path)) == [("1.png", "taken"), ("a.tar", "archive_damaged")]


def test_a_bomb_ends_the_archive_and_nothing_else(tmp_path: Path) -> None:
    zeros = bytes(8 << 20)
    path = tar(tmp_path / "a.tgz", [
        member("1.png", picture(1)), member("bomb.png", zeros), member("2.png", picture(2)),
    ], "gz")

    found = outcomes(source(path, ratio_floor=1 << 20, max_ratio=50))

    assert found == [("1.png", "taken"), ("bomb.png", "bomb"), ("a.tgz", "bomb")]
    assert outcomes(source(path, max_bytes=1 << 20))[-1] == ("a.tgz", "bomb")


def test_a_member_is_not_read_past_the_limit(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tgz", [
        member("large.png", bytes(1 << 20)), member("1.png", picture(1)),
    ], "gz")
    narrow = PictureLimits(max_bytes=1 << 16, min_side=9, max_side=100, max_pixels=10_000)

    assert outcomes(source(path), narrow) == [("large.png", "media_too_large"), ("1.png", "taken")]


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 7 << 30
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))

    assert outcomes(source(path)) == [("a.tgz", "archive_damaged")]


@pytest.mark.parametrize("size", ["-1", "x", "99999999999999999999"])
def test_an_invalid_size(tmp_path: Path, size: str) -> None:
    info, data = member("1.png", picture(1))
    info.pax_headers = {"size": size}
    path = tar(tmp_path / "a.tar", [(info, data), member("2.png", picture(2))])

    assert outcomes(source(path))[-1] == ("a.tar", "archive_damaged")


def test_a_sparse_member(tmp_path: Path) -> None:
    info, data = member("1.png", picture(1))
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    path = tar(tmp_path / "a.tar", [(info, data), member("2.png", picture(2))])

    assert outcomes(source(path)) == [("1.png", "unsupported"), ("2.png", "taken")]


def test_many_tiny_members(tmp_path: Path) -> None:
    tiny = picture()
    path = tar(
        tmp_path / "a.tgz", (member(f"{n}.png", tiny) for n in range(TINY_MEMBERS)), "gz",
        tarfile.USTAR_FORMAT,
    )

    taken_count = sum(isinstance(item, Item) for item in source(path).items())
    refused = [
        item for item in source(path, max_members=1000).items() if isinstance(item, RefusedItem)
    ]

    assert taken_count == TINY_MEMBERS
    assert [(item.source_name, item.reason) for item in refused] == [("a.tgz", "too_many")]


def test_default_limits_apply() -> None:
    limits = ArchiveLimits()

    assert limits.max_members >= 1_000_000
    assert limits.ratio_floor > 100_000 * 1024  # 100,000 tiny members are no bomb
    assert LIMITS.max_bytes < limits.ratio_floor
