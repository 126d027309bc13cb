"""Photos made from the test pictures, as unlike each other as photos in an archive are.

Equal seeds make equal bytes. Turned, scaled, cut off, dark, blurred and noisy pictures,
several people in one, faces that fill it and faces that are lost in it, in every format,
turned by EXIF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.stages.decode import decode

Pixels = NDArray[Any]
Chance = np.random.Generator

FOLDERS = ("photos", "rotated", "spoof", "eyes", "bad")
FORMATS = (".jpg", ".jpg", ".jpg", ".jpg", ".png", ".webp", ".gif")


def originals(folder: Path) -> list[Pixels]:
    """The test pictures but for the aligned crops."""
    paths = [path for name in FOLDERS for path in sorted((folder / name).rglob("*.*"))]
    read = [cv2.imread(str(path)) for path in paths]
    return [picture for picture in read if picture is not None]


def varied(folder: Path, count: int, seed: int, longest: int = 1600) -> Iterator[bytes]:
    """``count`` files of at most ``longest`` pixels a side."""
    chance = np.random.default_rng(seed)
    pictures = originals(folder)
    crops = sorted((folder / "lfw_aligned").rglob("*.jpg"))
    for _ in range(count):
        change = CHANGES[chance.integers(len(CHANGES))]
        page = change(pictures[chance.integers(len(pictures))], chance, pictures, crops)
        shrink = longest / max(page.shape[:2])
        if shrink < 1:
            page = cv2.resize(page, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        yield encoded(np.ascontiguousarray(page, np.uint8), chance)


def encoded(page: Pixels, chance: Chance) -> bytes:
    """The picture in a random format; some JPEGs have an EXIF turn."""
    name = FORMATS[chance.integers(len(FORMATS))]
    options = [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(30, 96))] if name == ".jpg" else []
    data = cv2.imencode(name, page, options)[1].tobytes()
    if name == ".jpg" and chance.random() < 0.15:
        return with_orientation(data, int(chance.integers(1, 9)))
    return data


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The same file with an EXIF turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


# Changes -----------------------------------------------------------------------


def as_it_is(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    return page if chance.random() < 0.5 else page[:, ::-1]


def scaled(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    across = float(np.exp(chance.uniform(np.log(0.3), np.log(3))))
    return cv2.resize(page, None, fx=across, fy=across * float(chance.uniform(0.9, 1.1)))


def turned(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    height, width = page.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(chance.uniform(-60, 60)), float(chance.uniform(0.7, 1.3))
    )
    return cv2.warpAffine(page, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def cut_off(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    sides = [int(side * chance.uniform(0.35, 0.95)) for side in page.shape[:2]]
    top, left = (int(chance.integers(page.shape[axis] - sides[axis] + 1)) for axis in (0, 1))
    return page[top : top + sides[0], left : left + sides[1]]


def together(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    """Several pictures and faces on one page, of very different sizes."""
    width, height = (int(side) for side in chance.integers(300, 1400, 2))
    sheet = cv2.GaussianBlur(cv2.resize(page, (width, height)), (0, 0), 25)
    for _ in range(int(chance.integers(2, 7))):
        side = int(np.exp(chance.uniform(np.log(24), np.log(min(height, width) * 0.6))))
        some = others[chance.integers(len(others))]
        if chance.random() < 0.5:
            some = np.asarray(cv2.imread(str(crops[chance.integers(len(crops))])))
        top, left = int(chance.integers(height - side + 1)), int(chance.integers(width - side + 1))
        sheet[top : top + side, left : left + side] = cv2.resize(
            some, (side, side), interpolation=cv2.INTER_AREA
        )
    return sheet


def worse(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    """Dark, blurred or noisy."""
    kind = chance.integers(3)
    if kind == 0:
        return (page * chance.uniform(0.1, 0.6)).astype(np.uint8)
    if kind == 1:
        return cv2.GaussianBlur(page, (0, 0), float(chance.uniform(1, 6)))
    noise = chance.normal(0, chance.uniform(3, 30), page.shape)
    return (page + noise).clip(0, 255).astype(np.uint8)


def lost(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    """Small, somewhere on a large page."""
    width = int(chance.integers(400, 1600))
    height = int(width * chance.uniform(0.6, 1.4))
    some = others[chance.integers(len(others))]
    sheet = cv2.GaussianBlur(cv2.resize(some, (width, height)), (0, 0), 30)
    side = min(int(chance.integers(60, 300)), width, height)
    top, left = int(chance.integers(height - side + 1)), int(chance.integers(width - side + 1))
    sheet[top : top + side, left : left + side] = cv2.resize(
        page, (side, side), interpolation=cv2.INTER_AREA
    )
    return sheet


def portrait(page: Pixels, chance: Chance, others: list[Pixels], crops: list[Path]) -> Pixels:
    """A portrait of random shape, slightly moved and turned, in other light."""
    height, width = page.shape[:2]
    longer = int(chance.choice([250, 480, 800, 1600]))
    shape = chance.choice([1.0, 4 / 3, 3 / 4])
    size = (longer, int(longer / shape)) if shape >= 1 else (int(longer * shape), longer)
    scale = min(size[0] / width, size[1] / height) * float(chance.uniform(0.9, 1.3))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(chance.normal(0, 6)), scale)
    shift = np.zeros((2, 3))
    shift[:, 2] = [size[0] / 2 - width / 2, size[1] / 2 - height / 2]
    shift[:, 2] += chance.normal(0, 0.03, 2) * longer
    matrix = np.asarray(matrix + shift, np.float64)
    moved = cv2.warpAffine(page, matrix, size, borderMode=cv2.BORDER_REFLECT)
    return cv2.convertScaleAbs(moved, alpha=float(chance.uniform(0.6, 1.3)))


CHANGES: tuple[Callable[[Pixels, Chance, list[Pixels], list[Path]], Pixels], ...] = (
    as_it_is, scaled, turned, cut_off, together, worse, lost, portrait, portrait, portrait,
)


def decoded_photos(folder: Path, count: int, seed: int, longest: int) -> list[NDArray[np.uint8]]:
    """The pixels of ``varied``."""
    limits = PictureLimits.from_settings(Settings())
    return [decode(data, limits) for data in varied(folder, count, seed, longest)]
