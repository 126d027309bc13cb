"""Photos of people into a collection, then the one who is on another photo.

    python find_people.py probe.jpg sheet.png ada.jpg bob.jpg ...

Each file is enrolled under its name. The sheet shows the faces like the one on `probe.jpg`, best
first. FACE_URL and FACE_API_KEY say where the service is and who asks.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

from faceline_client import BadInput, Client, Conflict
from PIL import Image, ImageDraw

COLLECTION = "example"
SIDE = 160  # pixels of a face on the sheet


def main(probe: str, target: str, *photos: str) -> None:
    with Client.from_environment() as client:
        with contextlib.suppress(Conflict):  # a second run
            client.create_collection(COLLECTION, "Example")
        for photo in photos:
            enrol(client, Path(photo))
        hits = client.search(probe, [COLLECTION]).hits
    sheet = Image.new("RGB", (SIDE * max(len(hits), 1), SIDE + 20), "white")
    pen = ImageDraw.Draw(sheet)
    for place, hit in enumerate(hits):
        face = Image.open(io.BytesIO(hit.cutout)).resize((SIDE, SIDE))
        sheet.paste(face, (SIDE * place, 0))
        pen.text((SIDE * place + 4, SIDE + 4), f"{hit.score:.1f}  {hit.description}", fill="black")
        print(f"{hit.score:.1f} {hit.description}")
    sheet.save(target)


def enrol(client: Client, photo: Path) -> None:
    try:
        face = client.enrol(photo, name=photo.stem, description=photo.name)
    except Conflict:
        print(f"{photo.name}: enrolled already")
    except BadInput as error:
        print(f"{photo.name}: refused, {error.message}")
    else:
        client.bind(face.face_token, [COLLECTION])
        print(f"{photo.name}: face {face.face_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
