"""Every photo against every other, at once, as a table of colours.

    python compare_folder.py scores.png a.jpg b.jpg c.jpg ...

FACE_URL and FACE_API_KEY say where the service is and who asks.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from faceline_client import AsyncClient, NoFace
from PIL import Image, ImageDraw

SIDE = 90  # pixels of a cell
AT_ONCE = 8  # calls


async def compare_all(photos: Sequence[Path]) -> dict[tuple[int, int], float]:
    """Scores, 0 to 100, by the numbers of the photos; none for a photo without a face."""
    scores: dict[tuple[int, int], float] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async with AsyncClient.from_environment() as client:

        async def compare(one: int, other: int) -> None:
            async with turns:
                try:
                    scores[one, other] = (await client.compare(photos[one], photos[other])).score
                except NoFace:
                    print(f"{photos[one].name} or {photos[other].name} shows no face")

        pairs = itertools.combinations(range(len(photos)), 2)
        await asyncio.gather(*(compare(*pair) for pair in pairs))
    return scores


def colour(score: float) -> tuple[int, int, int]:
    """White at 0, green from 80 on: one false match in 100,000."""
    share = min(score / 80, 1.0)
    return round(255 * (1 - share)), 255, round(255 * (1 - share))


def main(target: str, *files: str) -> None:
    photos = [Path(file) for file in files]
    scores = asyncio.run(compare_all(photos))
    table = Image.new("RGB", (SIDE * len(photos), SIDE * len(photos)), "white")
    pen = ImageDraw.Draw(table)
    for number, photo in enumerate(photos):
        pen.text((SIDE * number + 4, SIDE * number + 4), photo.stem[:14], fill="black")
    for (one, other), score in sorted(scores.items()):
        print(f"{score:5.1f} {photos[one].name} {photos[other].name}")
        for left, top in ((one, other), (other, one)):
            corner = (SIDE * left, SIDE * top)
            pen.rectangle((*corner, corner[0] + SIDE - 2, corner[1] + SIDE - 2), colour(score))
            pen.text((corner[0] + 4, corner[1] + 4), f"{score:.1f}", fill="black")
    table.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
