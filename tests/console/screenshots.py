"""Pictures of the console's pages for ``docs/console.md``.

    python -m tests.console.screenshots

Everybody in them is drawn: the faces are circles, the names are made up.
"""

from __future__ import annotations

import colorsys
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright
from sqlalchemy import update

from api_shim.admin.sessions import SESSION_COOKIE, sign_token
from api_shim.console.page import THEME_COOKIE
from pipeline.batches.model import ItemState
from pipeline.database.engine import writing
from pipeline.database.schema import faces
from pipeline.encryption.vault import open_vault
from pipeline.operators.model import OperatorRole
from pipeline.operators.sessions import SessionStore
from pipeline.operators.store import OperatorStore
from pipeline.stages.thumbnail import thumbnail
from pipeline.storage_keys import face_media, plain_name
from tests.console.test_batches import keep_picture, make_batch
from tests.gallery_factory import MODEL
from tests.programs import find_chromium
from tests.stack import Stack
from tests.synthetic_gallery import fill_gallery

FOLDER = Path("docs/console")
FACES = 24
COLOURS = 64  # of a picture; pages have few
SETTLE_MS = 1500

WIDE: ViewportSize = {"width": 1100, "height": 720}
NARROW: ViewportSize = {"width": 390, "height": 720}

SHOWN: dict[str, tuple[str, str, ViewportSize]] = {
    "try": ("/console/try", "dark", NARROW),
    "applications": ("/console/applications/stack", "light", WIDE),
    "overview": ("/console", "light", WIDE),
    "jobs": ("/console/jobs", "dark", WIDE),
    "gallery": ("/console/gallery?application=stack", "light", WIDE),
    "batches": ("/console/batches/{batch}#items", "dark", WIDE),
    "system": ("/console/system/settings", "light", WIDE),
    "operators": ("/console/operators", "light", WIDE),
}
"""Pages by the names of their pictures: path, in which ``{batch}`` is one that was made, theme,
size."""

REFUSED = ("many_faces", "bad_quality", "no_face")


def draw_face(number: int) -> bytes:
    """A JPEG of a face that nobody has."""
    red, green, blue = colorsys.hsv_to_rgb(number / FACES, 0.35, 0.9)
    picture = np.full((112, 112, 3), (blue * 255, green * 255, red * 255), np.uint8)
    cv2.circle(picture, (56, 60), 38, (245, 245, 245), -1, cv2.LINE_AA)
    for x in (43, 69):
        cv2.circle(picture, (x, 52), 5, (60, 50, 40), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (56, 66), (16, 10 + number % 5), 0, 20, 160, (60, 50, 40), 3, cv2.LINE_AA)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def draw_refused(reason: str) -> bytes:
    """A small JPEG of what is refused so."""
    one, other = (
        cv2.imdecode(np.frombuffer(draw_face(number), np.uint8), cv2.IMREAD_COLOR)
        for number in (3, 14)
    )
    assert one is not None
    assert other is not None
    paper = np.full((160, 120, 3), 250, np.uint8)
    for top in range(20, 140, 12):
        cv2.line(paper, (14, top), (104 - top % 5 * 9, top), (90, 90, 90), 3)
    pictures = {
        "many_faces": np.hstack([one, other]), "bad_quality": cv2.blur(other, (23, 23)),
        "no_face": paper,
    }
    return thumbnail(np.asarray(pictures[reason], np.uint8))


def make_refused(stack: Stack) -> str:
    """A batch that refused a few items."""
    items = [("ada.jpg", ItemState.ENROLLED, "")] * 17 + [
        (f"staff/{number}.jpg", ItemState.REJECTED, reason)
        for number, reason in enumerate(REFUSED, 18)
    ]
    batch = make_batch(stack, items)
    for number, reason in enumerate(REFUSED, 18):
        keep_picture(stack, batch, number, draw_refused(reason))
    return batch.id


def fill(stack: Stack) -> None:
    tenant = stack.credentials.tenant_id
    fill_gallery(stack.cluster.engine, tenant, FACES, MODEL)
    for number in range(1, FACES + 1):
        drawn = draw_face(number)
        key = face_media(tenant, "made", number, plain_name(drawn))
        stack.cluster.media.put(key, drawn)
        with writing(stack.cluster.engine) as connection:
            connection.execute(update(faces).where(faces.c.id == number).values(face_key=key))


def shrink(png: bytes) -> bytes:
    """The picture with a palette."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        fill(stack)
        batch = make_refused(stack)
        stack.start_shim()
        operator = OperatorStore(stack.cluster.engine).create(
            "ada", OperatorRole.ADMINISTRATOR, sees_faces=True
        )
        session = SessionStore(stack.cluster.engine).open(operator.id)
        token = sign_token(open_vault(stack.settings), session)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=str(find_chromium()), args=["--no-sandbox", "--disable-gpu"]
            )
            for name, (path, theme, size) in SHOWN.items():
                context = browser.new_context(viewport=size, base_url=stack.url, locale="en")
                context.add_cookies([
                    {"name": SESSION_COOKIE, "value": token, "url": stack.url},
                    {"name": THEME_COOKIE, "value": theme, "url": stack.url},
                ])
                page = context.new_page()
                page.goto(path.format(batch=batch))
                page.wait_for_timeout(SETTLE_MS)
                target = FOLDER / f"{name}.png"
                target.write_bytes(shrink(page.screenshot()))
                print(target, target.stat().st_size)
                context.close()


if __name__ == "__main__":
    main()
