"""Photos for a bulk enrolment, by the thousand, with known people and outcomes.

    python -m tests.bulk_photos FOLDER --count 10000 --large 0.02 --seed 7

writes FOLDER/NAME/NUMBER.jpg and, beside the folder, FOLDER.jsonl with a line for every
file: its kind and its expected outcome. Each photo shows a face of `lfw_aligned`
of the test pictures, turned, scaled, lit, mirrored and encoded anew before an out-of-focus
background; equal seeds make equal bytes. Ten thousand take about a minute of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.photos import read

Pixels = NDArray[np.uint8]

SMALL = (250, 250)  # pixels, as LFW's own
LARGE = (1632, 1224)  # two megapixels
FACE = 112  # side of an aligned face
SHARPEST = 3.0  # a face of 112 pixels is enlarged no further


class Kind(StrEnum):
    """The kind of a file. All but the first four are rejected."""

    PHOTO = "photo"  # one face, enough for any gate
    COMPANY = "company"  # a second, smaller face of another person
    RENAMED = "renamed"  # the person has another name in most other pictures
    MISNAMED = "misnamed"  # it has another person's name
    COPY = "copy"  # the bytes of an earlier file
    NO_FACE = "no_face"
    TEXT = "text"
    EMPTY = "empty"
    CUT = "cut"  # the last part of the file is missing


FACES = frozenset({Kind.PHOTO, Kind.COMPANY, Kind.RENAMED, Kind.MISNAMED})


@dataclass(frozen=True, slots=True)
class Recipe:
    """Shares are of ``count``; the rest are photos. ``people`` 0: one in five.
    ``size``: width and height of all but the ``large`` ones."""

    count: int
    seed: int = 7
    people: int = 0
    size: tuple[int, int] = SMALL
    large: float = 0.0
    copies: float = 0.02
    company: float = 0.02
    renamed: float = 0.005
    misnamed: float = 0.005
    no_face: float = 0.01
    text: float = 0.005
    empty: float = 0.005
    cut: float = 0.005


@dataclass(frozen=True, slots=True)
class Made:
    """One file: ``name`` below the folder, the ``person`` on it (as in
    `lfw_aligned`; empty for none) and, of a copy, the ``name`` of the original."""

    name: str
    kind: Kind
    person: str = ""
    original: str = ""
    large: bool = False

    @property
    def given(self) -> str:
        """The name that the source gives the person."""
        return self.name.split("/", 1)[0]


# The files to make ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    made: Made
    faces: tuple[Path, ...]
    seed: str
    size: tuple[int, int] = SMALL


def plan(recipe: Recipe, faces: Path) -> list[_Plan]:
    """Every file of a recipe, in the order of making; ``faces`` holds `lfw_aligned`."""
    chance = random.Random(f"bulk {recipe.seed}")
    people = _people(faces, recipe.people or max(recipe.count // 5, 2), chance)
    plans: list[_Plan] = []
    originals: list[Made] = []
    for number, kind in enumerate(_kinds(recipe, chance)):
        one, other = chance.sample(people, 2)
        picture, company = chance.choice(one[1]), chance.choice(other[1])
        large = chance.random() < recipe.large
        name = f"{number:06d}.jpg"
        if kind is Kind.COPY and originals:
            source = chance.choice(originals)
            made = Made(f"{source.given}/{name}", kind, source.person, source.name, source.large)
            plans.append(_Plan(made, (), ""))
            continue
        kind = Kind.PHOTO if kind is Kind.COPY else kind
        given = {Kind.RENAMED: f"{one[0]}_too", Kind.MISNAMED: other[0]}.get(kind, one[0])
        made = Made(f"{given}/{name}", kind, one[0] if kind in FACES else "", "", large)
        shown = (picture, company)[: 2 if kind is Kind.COMPANY else int(kind in FACES)]
        size = LARGE if large else recipe.size
        plans.append(_Plan(made, shown, f"{recipe.seed} {number}", size))
        if kind in FACES:
            originals.append(made)
    return plans


def _people(
    faces: Path, count: int, chance: random.Random
) -> list[tuple[str, list[Path]]]:
    folders = sorted(path for path in faces.iterdir() if path.is_dir())
    chance.shuffle(folders)
    return [(path.name, sorted(path.glob("*.jpg"))) for path in folders[:count]]


def _kinds(recipe: Recipe, chance: random.Random) -> list[Kind]:
    """The kind of each file: shares rounded up, so that small recipes have some, too."""
    shares = {
        Kind.COPY: recipe.copies, Kind.COMPANY: recipe.company, Kind.RENAMED: recipe.renamed,
        Kind.MISNAMED: recipe.misnamed, Kind.NO_FACE: recipe.no_face, Kind.TEXT: recipe.text,
        Kind.EMPTY: recipe.empty, Kind.CUT: recipe.cut,
    }
    kinds = [
        kind for kind, share in shares.items() for _ in range(int(np.ceil(share * recipe.count)))
    ][: recipe.count]
    kinds += [Kind.PHOTO] * (recipe.count - len(kinds))
    chance.shuffle(kinds)
    return kinds


# How it looks ------------------------------------------------------------------


def render(plan: _Plan) -> bytes:
    """The bytes of a file that is no copy."""
    chance = random.Random(plan.seed)
    kind = plan.made.kind
    if kind is Kind.EMPTY:
        return b""
    if kind is Kind.TEXT:
        return f"no picture {plan.seed}\n".encode() * chance.randrange(1, 200)
    page = _background(chance, plan.size)
    for number, path in enumerate(plan.faces):
        _put_face(page, path, chance, number)
    quality = chance.randrange(82, 96)
    data = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return data[: len(data) * 2 // 5] if kind is Kind.CUT else data


@lru_cache(4096)
def _face(path: Path) -> Pixels:
    return read(path)


@lru_cache(1)
def _backdrops() -> tuple[Pixels, ...]:
    """Pages of 1.3 times the large size: soft blobs of colour with fine grain, about as
    many bytes a pixel as photographs."""
    draw = np.random.default_rng(5)
    pages = []
    width, height = (side * 13 // 10 for side in LARGE)
    grain = np.tile(draw.normal(0, 3, (256, 256, 3)), (height // 256 + 1, width // 256 + 1, 1))
    grain = grain[:height, :width].astype(np.float32)
    for _ in range(4):
        coarse = np.zeros((height // 4, width // 4, 3), np.float32)
        for cells, weight in ((3, 60.0), (9, 25.0), (40, 10.0), (300, 5.0)):
            blobs = draw.standard_normal((cells, cells, 3)).astype(np.float32)
            coarse += weight * cv2.resize(
                blobs, (width // 4, height // 4), interpolation=cv2.INTER_CUBIC
            )
        page = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) + grain
        pages.append((page + 110).clip(0, 255).astype(np.uint8))
    return tuple(pages)


@lru_cache(1)
def _mask() -> NDArray[np.float32]:
    """How much of an aligned face is shown: all within, nothing at the border."""
    steps = (np.arange(FACE, dtype=np.float32) - (FACE - 1) / 2) / (FACE / 2)
    distance = (steps[None, :] ** 4 + steps[:, None] ** 4) ** 0.25  # a square without corners
    return ((1.0 - distance) / 0.15).clip(0, 1).astype(np.float32)


def _background(chance: random.Random, size: tuple[int, int]) -> Pixels:
    page = chance.choice(_backdrops())
    if size[0] >= page.shape[1] or size[1] >= page.shape[0]:
        return cv2.resize(page, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    left = chance.randrange(page.shape[1] - size[0])
    top = chance.randrange(page.shape[0] - size[1])
    return page[top : top + size[1], left : left + size[0]].copy()


def _put_face(page: Pixels, path: Path, chance: random.Random, number: int) -> None:
    """The first face large and near the middle, others small and in the upper left."""
    face = _face(path)
    if chance.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    lit = cv2.convertScaleAbs(face, alpha=chance.uniform(0.85, 1.1), beta=chance.uniform(-8, 8))
    height, width = page.shape[:2]
    share = chance.uniform(0.5, 0.68) if number == 0 else chance.uniform(0.24, 0.28)
    side = min(share * min(width, height), SHARPEST * FACE / (1 + number))
    reach = side * 0.5 + 2
    if number == 0:
        middle = (width * chance.uniform(0.53, 0.6), height * chance.uniform(0.53, 0.6))
    else:
        middle = (reach, reach)
    left, top = (int(max(part - reach, 0)) for part in middle)
    across = int(min(2 * reach, width - left)), int(min(2 * reach, height - top))
    turn = cv2.getRotationMatrix2D(
        (FACE / 2, FACE / 2), chance.uniform(-12, 12), side / FACE
    )
    turn[:, 2] += (middle[0] - left - FACE / 2, middle[1] - top - FACE / 2)
    shown = cv2.warpAffine(lit, turn, across, flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(_mask(), turn, across, flags=cv2.INTER_LINEAR)
    part = page[top : top + across[1], left : left + across[0]]
    cv2.blendLinear(shown, part.copy(), weight, 1 - weight, part)


# Writing -----------------------------------------------------------------------


def write(folder: Path, recipe: Recipe, faces: Path, threads: int = 2) -> list[Made]:
    """Write every file of the recipe below ``folder``; the kind of each, by name."""
    plans = plan(recipe, faces)
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for given in {each.made.given for each in plans}:
        (folder / given).mkdir(exist_ok=True)

    def put(each: _Plan) -> None:
        (folder / each.made.name).write_bytes(render(each))

    fresh = [each for each in plans if each.made.kind is not Kind.COPY]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(put, fresh, chunksize=64):
            pass
    for each in plans:
        if each.made.kind is Kind.COPY:
            os.link(folder / each.made.original, folder / each.made.name)
    return sorted((each.made for each in plans), key=lambda made: os.fsencode(made.name))


def pictures(recipe: Recipe, faces: Path) -> Iterator[tuple[Made, bytes]]:
    """The same without a folder, in the order of making."""
    kept: dict[str, bytes] = {}
    plans = plan(recipe, faces)
    wanted = {each.made.original for each in plans}
    for each in plans:
        copied = kept.get(each.made.original)
        data = render(each) if copied is None else copied
        if each.made.name in wanted:
            kept[each.made.name] = data
        yield each.made, data


def write_truth(path: Path, truth: Sequence[Made]) -> None:
    """A JSON object a line."""
    path.write_text("".join(json.dumps(asdict(made)) + "\n" for made in truth))


def summary(truth: Sequence[Made]) -> dict[str, Any]:
    """How many of each kind, of how many people under how many names."""
    return {
        "files": len(truth),
        "kinds": dict(Counter(str(made.kind) for made in truth)),
        "people": len({made.person for made in truth if made.person}),
        "large": sum(made.large for made in truth if made.kind in FACES),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces/lfw_aligned"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=0, help="0: one for five files")
    parser.add_argument("--large", type=float, default=0.0, help="share of about 2 megapixels")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    recipe = Recipe(
        options.count, options.seed, people=options.people, large=options.large
    )
    truth = write(options.folder, recipe, options.faces)
    write_truth(options.folder.with_name(options.folder.name + ".jsonl"), truth)
    sys.stdout.write(json.dumps(summary(truth)) + "\n")


if __name__ == "__main__":
    main()
