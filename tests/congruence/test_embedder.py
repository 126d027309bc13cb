"""The embedder computes what insightface's own class computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.sessions.base import ModelTask, Pack
from pipeline.sessions.runtime import open_session
from pipeline.sessions.vectors import unit_rows
from tests.photos import read


@pytest.mark.filterwarnings("ignore:.estimate. is deprecated:FutureWarning:insightface")
def test_embeddings_are_insightfaces(
    edge_pack: Pack, edge_settings: Settings, test_data: Path
) -> None:
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    path = next(
        edge_pack.info.path / file.name for file in edge_pack.info.files
        if file.task is ModelTask.RECOGNITION
    )
    theirs = ArcFaceONNX(model_file=str(path), session=open_session(path, edge_settings))
    crops = [read(file) for file in sorted((test_data / "lfw_aligned").rglob("*.jpg"))[:3]]

    mine = edge_pack.embedder().embed(crops)

    assert np.array_equal(mine, unit_rows(theirs.get_feat(crops)))
