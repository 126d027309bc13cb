"""The service's stages find the same as insightface's own ``FaceAnalysis``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sessions import registry
from pipeline.sessions.base import ModelTask, Pack
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.types import Box, DetectedFace

LEAST_IOU = 0.98
LEAST_COSINE = 0.999

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:.estimate. is deprecated:FutureWarning:insightface"),
]


def analysis(pack: Pack, folder: Path, sizes: tuple[int, ...], threshold: float) -> Any:
    """insightface's own loop over the detector and the recognition model of ``pack``."""
    from insightface.app import FaceAnalysis

    for file in pack.info.files:
        if file.task in {ModelTask.DETECTION, ModelTask.RECOGNITION}:
            (folder / file.name).symlink_to((pack.info.path / file.name).resolve())
    app = FaceAnalysis(str(folder), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_thresh=threshold, det_size=[(size, size) for size in sizes])
    return app


def partner(face: DetectedFace, theirs: list[Any]) -> Any:
    """The face of ``theirs`` that is the same one."""
    return max(theirs, key=lambda other: face.box.overlap(Box(*other.bbox)))


@pytest.mark.parametrize("sizes", ["", "640"], ids=["default", "640"])
def test_parity(
    edge_pack: Pack, edge_settings: Settings, test_data: Path, tmp_path: Path, sizes: str
) -> None:
    chosen = {"detection_sizes": sizes} if sizes else {}
    settings = edge_settings.model_copy(update=chosen)
    pack = registry.load(edge_pack.info, settings)
    app = analysis(pack, tmp_path, settings.detector_sizes, settings.detection_threshold)
    limits = PictureLimits.from_settings(settings)
    photos = sorted((test_data / "photos").rglob("*.jpg"))
    assert len(photos) >= 65
    for photo in photos:
        picture = decode(photo.read_bytes(), limits)
        faces = detect(picture, pack.detector())
        vectors = embed(align_faces(picture, faces, pack.embedder()), pack.embedder())
        theirs = app.get(cv2.imread(str(photo)))
        assert len(faces) == len(theirs), photo
        matched = [partner(face, theirs) for face in faces]
        assert len({id(other) for other in matched}) == len(theirs), photo
        for face, vector, other in zip(faces, vectors, matched, strict=True):
            assert face.box.overlap(Box(*other.bbox)) > LEAST_IOU, photo
            assert float(np.dot(vector, other.normed_embedding)) > LEAST_COSINE, photo
