"""The passive score of single pictures, as cameras and networks deliver them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.calibration.passive import passive_calibration
from pipeline.sessions.base import Pack
from pipeline.stages.detect import detect
from pipeline.types import Picture
from tests.presentations.cameras import lit
from tests.presentations.portraits import read


def compressed(picture: Picture) -> Picture:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    found = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found, np.uint8)


def half(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "as it is": lambda picture: picture,
    "JPEG 60": compressed,
    "half size": half,
    "more light": lambda picture: lit(picture, 1.2),
    "less light": lambda picture: lit(picture, 0.8),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("name", "live"), [("T1", True), ("F1", False), ("F2", False)])
def test_live_print_and_screen(
    change: str, name: str, live: bool, edge_pack: Pack, test_data: Path
) -> None:
    picture = CHANGES[change](read(test_data / f"spoof/image_{name}.jpg"))
    face = detect(picture, edge_pack.detector())[0]

    raw = edge_pack.spoof_scorer().score(picture, face.box)
    score = passive_calibration(edge_pack.info).score(raw)

    assert (score > 0.5) == live, score
