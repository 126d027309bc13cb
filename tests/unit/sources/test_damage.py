"""Damage at random places: every item of a source has an outcome."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InvalidParameter
from pipeline.sources.archives import ArchiveOptions
from pipeline.sources.base import PictureSource
from pipeline.sources.manifest import ManifestSource
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource
from tests.unit.sources.makers import member, outcomes, picture, tar, zipped

ROUNDS = 150  # of each kind; `tests.benchmarks.sources --damaged` makes more

Opener = Callable[[Path], PictureSource]


def archived(path: Path, compression: str) -> Path:
    return tar(path, [
        member("ada/" + "n" * 120 + ".png", picture(1)), member("2.png", picture(2)),
        member("李.png", picture(3)),
    ], compression)


def manifest(path: Path) -> Path:
    path.write_text('path,name\n1.png,"a ""b"""\n2.png,\n3.png,"x\ny"\n', encoding="utf-8")
    return path


def lines(path: Path) -> Path:
    path.write_text('{"path": "1.png"}\n{"path": "2.png", "name": "b"}\n', encoding="utf-8")
    return path


MAKERS: dict[str, tuple[Callable[[Path], Path], Opener]] = {
    "tar": (lambda path: archived(path, ""), lambda path: TarSource(path, ArchiveOptions())),
    "gz": (lambda path: archived(path, "gz"), lambda path: TarSource(path, ArchiveOptions())),
    "xz": (lambda path: archived(path, "xz"), lambda path: TarSource(path, ArchiveOptions())),
    "zip": (
        lambda path: zipped(path, [(f"{n}/李.png", picture(n)) for n in range(3)]),
        lambda path: ZipSource(path, ArchiveOptions()),
    ),
    "csv": (manifest, ManifestSource),
    "jsonl": (lines, ManifestSource),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", list(MAKERS))
def test_damaged_sources_give_every_item_an_outcome(kind: str, tmp_path: Path) -> None:
    make, opened = MAKERS[kind]
    path = make(tmp_path / "a")
    whole = path.read_bytes()
    chance = random.Random(6)

    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, chance))
        try:
            found = outcomes(opened(path))
        except InvalidParameter:  # a manifest without its header is none
            assert kind in ("csv", "jsonl")
        else:
            assert all(name and reason for name, reason in found)


def damaged(whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randint(1, 40)]
        else:
            data[at:at] = chance.choice((b"\xff" * 4, b"\0", b'"', b"\n", chance.randbytes(8)))
        if not data:
            return b""
    return bytes(data)
