"""What NAS, systems and programs leave beside pictures, and what only looks like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sources.archives import ArchiveOptions
from pipeline.sources.base import About, Item, RefusalReason, RefusedItem
from pipeline.sources.litter import WithoutLitter, is_litter
from pipeline.sources.zip import ZipSource
from tests.unit.sources.makers import outcomes, picture, zipped


@pytest.mark.parametrize("path", [
    "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "ada/@eaDir/1.jpg", "ada/1.jpg@SynoEAStream",
    "#recycle/ada/1.jpg", "#snapshot/1.jpg", "@Recycle/1.jpg", ".@__thumb/1.jpg", "ada/.DS_Store",
    "ada/._1.jpg", ".AppleDouble/1.jpg", "__MACOSX/ada/._1.jpg", ".Trashes/501/1.jpg",
    r"ada/Icon\x0d", "Thumbs.db", "ada/THUMBS.DB", "ada/Thumbs.db:encryptable", "ehthumbs.db",
    "desktop.ini", "Desktop.ini", "$RECYCLE.BIN/S-1-5/1.jpg", "System Volume Information/x",
    "ada/1.jpg:Zone.Identifier", "ada/1.lnk", "lost+found/1.jpg", ".thumbnails/1.jpg",
    "ada/.thumbnails/1.jpg", ".git/x.png", "ada/IMG_1.AAE", "ada/1.jpg.xmp", "ada/1.xmp",
    "ada/MVI_1.THM", "ada/1.jpg.json", "ada/1.jpg.supplemental-metadata.json", "ada/1.jpg~",
    "ada/1.jpg.part", "Previews.lrdata/1.jpg", "ada/Picasa.ini", "ada/.nomedia",
])
def test_litter(path: str) -> None:
    assert is_litter(path)


@pytest.mark.parametrize("path", [
    "1.jpg", "ada/1.jpg", "@ada/1.jpg", "#1/1.jpg", "$ada/1.jpg", "Thumbs/1.jpg", "xmp.jpg",
    "a.xmp/1.jpg", "desktop.ini.jpg", "recycle/1.jpg", "ada/1.jpg.jpg", "notes.txt", "data.json",
    "ada/thumb.jpg", "../up.jpg", "./1.jpg", "..", "Icon.jpg", "AAE/1.jpg", "ada/a~b.jpg",
])
def test_what_is_no_litter(path: str) -> None:
    assert not is_litter(path)


class Bucket:
    """Objects below a prefix that the operator named."""

    location = "bucket"

    def position(self) -> tuple[int, int]:
        return 0, 0

    def items(self) -> Iterator[Item | RefusedItem]:
        for name in (".import/ada/1.jpg", ".import/ada/._1.jpg", ".import/@eaDir/1.jpg"):
            yield Item(name, About(), lambda _: b"")
        yield RefusedItem(".import/@eaDir/link", RefusalReason.LINK)
        yield RefusedItem(".import.zip", RefusalReason.ARCHIVE_DAMAGED, ends_source=True)


def test_what_the_operator_named_is_not_judged() -> None:
    found = list(WithoutLitter(Bucket(), ".import/").items())
    assert [getattr(item, "reason", "taken") for item in found] == [
        "taken", "skipped", "skipped", "skipped", "archive_damaged",
    ]


def test_an_archive_from_a_mac(tmp_path: Path) -> None:
    path = zipped(tmp_path / ".mac.zip", [
        ("ada/1.png", picture(1)), ("__MACOSX/ada/._1.png", b"\0\5\x16\7"), ("ada/.DS_Store", b""),
    ])
    source = WithoutLitter(ZipSource(path, ArchiveOptions()))
    assert outcomes(source) == [
        ("ada/1.png", "taken"), ("__MACOSX/ada/._1.png", "skipped"), ("ada/.DS_Store", "skipped"),
    ]
    path.write_bytes(path.read_bytes()[:-30])
    assert outcomes(source) == [(".mac.zip", "archive_damaged")]
