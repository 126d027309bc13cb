"""Draw what the demonstration finds, without the photograph, as an SVG.

    faceline call locate t1.jpg | python -m tests.benchmarks.demo_picture > docs/plots/demo.svg

``t1.jpg`` is the group photo inside the insightface package. The drawing shows each
returned box in its place, numbered as in ``locations``, over a plain silhouette.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

Box = list[int]
"""[top, right, bottom, left] in pixels of the photo."""

PHOTO = 1280, 886  # width and height of t1.jpg in pixels
TEXT_WIDTH = 720  # pixels beside the photo, for the envelope
LINE = 46  # pixels from one line of the envelope to the next
CHARACTER = 20  # pixels of a character, for indents

STYLE = (
    "rect.box{fill:none;stroke:#1a9850;stroke-width:6}"
    ".figure{fill:#c9d3dc}"
    "text{font:34px ui-monospace,Menlo,Consolas,monospace;fill:#24292f}"
    "text.number{font-weight:bold;fill:#1a9850}"
)


def drawing(envelope: dict[str, Any]) -> str:
    """The SVG of a ``locate`` answer."""
    boxes: list[Box] = envelope["data"]["locations"]
    width, height = PHOTO
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + TEXT_WIDTH} {height}" '
            f'role="img" aria-label="{len(boxes)} boxes around the faces of a group photo">'
        ),
        f"<style>{STYLE}</style>",
        f'<rect width="{width + TEXT_WIDTH}" height="{height}" fill="#fff"/>',
        f'<rect width="{width}" height="{height}" fill="#eef2f5"/>',
        # A person higher in the photo stands behind.
        *(_figure(box) for box in sorted(boxes, key=lambda box: box[2])),
        *_frames(boxes),
        *_lines(envelope),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _figure(box: Box) -> str:
    """A head that fills the box, and shoulders down to the edge of the photo."""
    top, right, bottom, left = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    shoulders = bottom + 0.2 * half
    return (
        f'<g class="figure"><ellipse cx="{x:.0f}" cy="{y:.0f}" rx="{0.85 * half:.0f}" '
        f'ry="{0.5 * (bottom - top):.0f}"/>'
        f'<path d="M{x - 1.9 * half:.0f} {PHOTO[1]}V{shoulders + half:.0f}'
        f"q0 {-half:.0f} {1.1 * half:.0f} {-half:.0f}h{1.6 * half:.0f}"
        f'q{1.1 * half:.0f} 0 {1.1 * half:.0f} {half:.0f}V{PHOTO[1]}Z" '
        'stroke="#eef2f5" stroke-width="4"/></g>'
    )


def _frames(boxes: list[Box]) -> Iterator[str]:
    for number, (top, right, bottom, left) in enumerate(boxes, 1):
        yield (
            f'<rect class="box" x="{left}" y="{top}" width="{right - left}" '
            f'height="{bottom - top}"/>'
        )
        yield f'<text class="number" x="{left}" y="{top - 14}">{number}</text>'


def _lines(envelope: dict[str, Any]) -> Iterator[str]:
    """The envelope's head and its boxes, as it is printed."""
    data = envelope["data"]
    lines = [
        "POST /face2/locate", "", "{", f' "code": {envelope["code"]},', ' "data": {',
        f'  "face_num": {data["face_num"]},', '  "locations": [',
        *(f"   {row}," for row in data["locations"]), "  ],",
        f'  "msg": "{data["msg"]}", ... }} }}',
    ]
    for number, line in enumerate(lines, 1):
        text = line.lstrip()
        x = PHOTO[0] + 40 + CHARACTER * (len(line) - len(text))
        yield f'<text x="{x}" y="{40 + number * LINE}">{text}</text>'


if __name__ == "__main__":
    sys.stdout.write(drawing(json.load(sys.stdin)))
