"""What people write before they look for a face service: insightface in a web process.

    python -m tests.benchmarks.loop_service --port 8700 --faces 100000

Thirty lines around ``FaceAnalysis`` in one process, with as many threads as cores. They
stand on Starlette, the part of FastAPI that serves: FastAPI adds its checks of parameters,
of which there are none here, so that this loop is no slower than one on FastAPI. The faces
are rows of a matrix in memory, and nothing is kept when the process ends.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.benchmarks.baselines import face_analysis

DIMENSION = 512
TOP = 5


class Faces:
    """Unit vectors in one matrix that doubles when it is full; threads may share it."""

    def __init__(self, count: int) -> None:
        drawn = np.random.default_rng(1).standard_normal((count, DIMENSION), np.float32)
        self._rows = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        self._count = count
        self._adding = threading.Lock()

    def add(self, vector: NDArray[np.float32]) -> int:
        """The number of the new face."""
        with self._adding:
            if self._count == len(self._rows):
                grown = np.empty((2 * self._count + 1024, DIMENSION), np.float32)
                grown[: self._count] = self._rows
                self._rows = grown
            self._rows[self._count] = vector
            self._count += 1
            return self._count - 1

    def nearest(self, vector: NDArray[np.float32]) -> list[tuple[int, float]]:
        """The number and the cosine of the nearest faces, nearest first."""
        cosines = self._rows[: self._count] @ vector
        best = np.argpartition(cosines, -TOP)[-TOP:]
        return [(int(n), float(cosines[n])) for n in best[np.argsort(-cosines[best])]]


def make_app(analysis: Any, faces: Faces) -> Starlette:
    def detect(picture: Any) -> Any:
        found, _ = analysis.det_model.detect(picture, max_num=0, metric="default")
        return [box[:4].tolist() for box in found]

    def largest(picture: Any) -> NDArray[np.float32]:
        found = analysis.get(picture)
        sizes = [(face.bbox[2:] - face.bbox[:2]).prod() for face in found]
        vector: NDArray[np.float32] = found[int(np.argmax(sizes))].normed_embedding
        return vector

    def route(path: str, work: Callable[[Any], Any]) -> Route:
        def run(data: bytes) -> Any:
            return work(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))

        async def answer(request: Request) -> JSONResponse:
            async with request.form() as form:
                upload = form["file"]
                assert isinstance(upload, UploadFile)
                data = await upload.read()
            return JSONResponse(await run_in_threadpool(run, data))

        return Route(path, answer, methods=["POST"])

    return Starlette(routes=[
        route("/detect", detect),
        route("/embed", lambda picture: largest(picture).tolist()),
        route("/enrol", lambda picture: faces.add(largest(picture))),
        route("/search", lambda picture: faces.nearest(largest(picture))),
    ])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=0, help="of a model; 0: one a core")
    options = parser.parse_args()
    app = make_app(face_analysis(640, options.threads), Faces(options.faces))
    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
