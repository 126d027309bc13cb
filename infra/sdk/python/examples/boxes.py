"""Every face of a photo, framed.

    python boxes.py group.jpg boxes.png

FACE_URL, FACE_APID and FACE_KVALUE say where the service is and who asks.
"""

from __future__ import annotations

import sys

from faceline_client import Client
from PIL import Image, ImageDraw, ImageOps


def main(photo: str, target: str) -> None:
    with Client.from_environment() as client:
        boxes = client.detect(photo).boxes
    # Boxes are those of the upright picture.
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    pen, width = ImageDraw.Draw(picture), max(picture.width // 300, 2)
    for number, box in enumerate(boxes, 1):
        frame = (box.left, box.top, box.right - 1, box.bottom - 1)
        pen.rectangle(frame, outline="lime", width=width)
        pen.text((box.left, box.bottom), str(number), fill="lime")
        print(f"{number}: {box.width} x {box.height} pixels at {box.left}, {box.top}")
    picture.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
