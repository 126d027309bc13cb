"""What small pictures of refused items cost: the processor time of pictures without a face, with
and without them, in turns.

    python -m tests.benchmarks.refused_pictures
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline.analysis.engine import PictureRequest, analyse_pictures
from pipeline.analysis.tools import AnalysisTools
from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.media.directory import DirectoryStore
from pipeline.operations import enrolment_analysis
from pipeline.sessions import registry
from pipeline.stages.thumbnail import thumbnail
from pipeline.storage_keys import plain_name, refused_media
from pipeline.types import Picture
from tests.conftest import models_directory

SIZES = ((640, 480), (2400, 1800))
PICTURES = 4
SEED = 7


def drawn(width: int, height: int) -> list[bytes]:
    """JPEGs of soft colours, all different."""
    chance = np.random.default_rng(SEED)
    small = chance.integers(0, 255, (PICTURES, height // 40, width // 40, 3), dtype=np.uint8)
    large = [cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in small]
    return [cv2.imencode(".jpg", each)[1].tobytes() for each in large]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="of each way and size")
    rounds = parser.parse_args().rounds
    settings = Settings(models_dir=models_directory(), pack="edge")
    tools = AnalysisTools.of(registry.load(registry.choose(settings), settings), settings)
    options = enrolment_analysis("largest", gate=True)
    for width, height in SIZES:
        files = drawn(width, height)
        spent = {False: 0.0, True: 0.0}
        sizes: list[int] = []
        with tempfile.TemporaryDirectory() as folder:
            media = DirectoryStore(Path(folder))
            for turn in range(2 * rounds):
                keeps = bool(turn % 2)
                made: list[bytes] = []

                def look(
                    pixels: Picture, _error: FaceError | None, made: list[bytes] = made
                ) -> None:
                    made.append(thumbnail(pixels))

                began = time.process_time()
                analyse_pictures(
                    [PictureRequest(each, options, watch=look if keeps else None)
                     for each in files], tools,
                )
                media.put_many([
                    (refused_media(1, "b", f"job.{turn}", number, plain_name(each)), each)
                    for number, each in enumerate(made, 1)
                ])
                spent[keeps] += time.process_time() - began
                sizes += map(len, made)
        count = rounds * PICTURES
        without, with_ = (1000 * spent[keeps] / count for keeps in (False, True))
        print(
            f"{width} x {height}: {without:.2f} ms a picture without, {with_:.2f} ms with one "
            f"({with_ / without:.3f}), {np.mean(sizes):.0f} bytes"
        )


if __name__ == "__main__":
    main()
