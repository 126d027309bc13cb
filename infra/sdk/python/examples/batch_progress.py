"""A whole folder of the operator's bucket, enrolled, with a bar while it goes on.

    python batch_progress.py 2026/ outcome.png

The picture shows what became of the items. FACE_URL and FACE_API_KEY say where the service is and
who asks; `FACELINE_IMPORT_URL` of the service names the bucket.
"""

from __future__ import annotations

import sys

from faceline_client import Batch, Client
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 600, 40  # pixels of the picture
CELLS = 40  # characters of the bar
COLOURS = {"enrolled": "green", "duplicate": "gold", "rejected": "red", "cancelled": "gray"}


def bar(batch: Batch) -> str:
    """``[####      ] 4 of 10 working``; without a share while the source is read."""
    full = round(CELLS * (batch.progress or 0.0))
    known = "?" if batch.total is None else batch.total
    return f"[{'#' * full:<{CELLS}}] {batch.items - batch.waiting} of {known} {batch.status}"


def draw(batch: Batch, target: str) -> None:
    """The shares of the outcomes, side by side."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, left = ImageDraw.Draw(picture), 0.0
    for outcome, colour in COLOURS.items():
        share = getattr(batch, outcome) / max(batch.items, 1)
        if share:
            pen.rectangle((left, 0, left + WIDTH * share, HEIGHT), colour)
            left += WIDTH * share
    picture.save(target)


def main(prefix: str, target: str) -> None:
    with Client.from_environment() as client:
        started = client.start_batch(prefix=prefix)
        for batch in client.watch_batch(started.id, every_s=0.5):
            print(bar(batch), flush=True)
            if batch.waits_for is not None:
                print(f"  waits: {batch.waits_for.message}")
        for item in client.iter_batch_items(started.id, status="rejected"):
            print(f"{item.source_name}: {item.reason} {item.detail or ''}".rstrip())
    draw(batch, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
