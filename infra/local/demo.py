"""The demonstration: sends a real photo and shows the documented envelope."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.local.client import Envelope, FaceClient, base64_file
from infra.local.credentials import load_credentials, save_credentials
from pipeline.accounts.credential_set import KINDS, Credentials
from pipeline.accounts.kinds import ID_AND_SECRET, NUMBER_AND_KEY
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.encryption.vault import open_vault
from pipeline.errors import FaceError, RequestRefused, TenantNotFound
from pipeline.sessions import registry

TENANT = "demo"

GREEN = (80, 220, 80)  # BGR

MANY_FACES = 50  # more than the photo has


class DemoFailed(FaceError):
    """The demonstration did not get the expected response."""


def demo_photo(name: str = "t1.jpg") -> Path:
    """A photo from the insightface package, found without importing it. `t1.jpg` shows six
    people.

    Raises ``DemoFailed`` when the package lacks the photo.
    """
    spec = importlib.util.find_spec("insightface")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "data" / "images" / name
        if path.is_file():
            return path
    raise DemoFailed(f"The insightface package on this machine has no data/images/{name}")


def demo_credentials(settings: Settings) -> Credentials:
    """The credentials of the demo application, kept in the data directory."""
    path = settings.data.demo_credentials
    engine = open_engine(settings.sql_url)
    try:
        tenants = TenantStore(engine, open_vault(settings))
        kept = load_credentials(path)
        if kept is not None and _live(tenants, kept):
            return kept
        tenant = _tenant(tenants, settings)
        issued = {kind: tenants.credentials.issue(tenant.id, kind) for kind in KINDS}
    finally:
        engine.dispose()
    fresh = Credentials.of(issued)
    save_credentials(path, fresh)
    return fresh


def run_demo(settings: Settings, client: FaceClient, say: Callable[[str], None]) -> Path:
    """Sends the photo, prints the envelopes, and returns the path of the picture with the
    detected faces. Raises ``DemoFailed``."""
    photo = demo_photo()
    say(f"\nPOST {client.url}/face2/locate with {photo.name}, then GET /jobs/... until it is done")
    located = client.call("locate", {"image": base64_file(photo), "max_face_num": MANY_FACES})
    say(_pretty(located))
    if located.get("code") != 0:
        raise DemoFailed(f"locate answered code {located.get('code')}")
    drawn = settings.data.demo_picture
    draw_boxes(photo, located["data"]["locations"], drawn)
    say(f"{located['data']['face_num']} faces, drawn into {drawn}")
    _show_more(settings, client, photo, say)
    return drawn


def draw_boxes(photo: Path, rows: list[list[int]], target: Path) -> None:
    """Writes ``photo`` with a frame for each ``[top, right, bottom, left]``."""
    import cv2

    pixels: NDArray[Any] = np.asarray(cv2.imread(str(photo)))
    for top, right, bottom, left in rows:
        cv2.rectangle(pixels, (left, top), (right, bottom), GREEN, thickness=3)
    if not cv2.imwrite(str(target), pixels):
        raise DemoFailed(f"{target} could not be written")


def _show_more(
    settings: Settings, client: FaceClient, photo: Path, say: Callable[[str], None]
) -> None:
    """Shows comparison, and features if the pack supports them."""
    pack = registry.choose(settings)
    other = demo_photo("Tom_Hanks_54745.png")
    say("\nPOST /face2/verify: the largest face of the photo and another man's")
    verified = client.call("verify", {"image1": base64_file(photo), "image2": base64_file(other)})
    say(_pretty(verified))
    if pack.dimension != 512:
        say(
            f"\n/face2/features needs 512 dimensions and the pack {pack.name!r} has "
            f"{pack.dimension}: `faceline models pull buffalo_l` downloads a pack with 512."
        )
        return
    say("\nPOST /face2/features")
    features = client.call("features", {"image": base64_file(other)})
    say(_pretty(_shortened(features)))


def _tenant(tenants: TenantStore, settings: Settings) -> Tenant:
    try:
        return tenants.by_name(TENANT)
    except TenantNotFound:
        return tenants.create(TENANT, encrypted=settings.encrypt_at_rest)


def _live(tenants: TenantStore, kept: Credentials) -> bool:
    """Whether every kind of credential is still accepted."""
    store = tenants.credentials
    try:
        known = store.signing(kept.app_id) and store.by_api_key(kept.api_key)
        store.authenticate(NUMBER_AND_KEY, str(kept.apid), kept.kvalue)
        store.authenticate(ID_AND_SECRET, kept.api_id, kept.api_secret)
    except (RequestRefused, TenantNotFound):
        return False
    return bool(known)


def _shortened(envelope: Envelope) -> Envelope:
    numbers = envelope["data"].get("features")
    if not numbers:
        return envelope
    short = [*numbers[:4], f"... {len(numbers)} in all"]
    return {**envelope, "data": {**envelope["data"], "features": short}}


def _pretty(envelope: Envelope) -> str:
    """Indented JSON with each innermost list (boxes, vectors) on one line."""
    text = json.dumps(envelope, ensure_ascii=False, indent=2)
    return re.sub(r"\[[^][{}]+\]", lambda found: " ".join(found[0].split()), text)
