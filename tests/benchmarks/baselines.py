"""The cost of the same pictures without a service: the baselines of the benchmarks.

    python -m tests.benchmarks.baselines analysis PHOTOS --repeat 5
    python -m tests.benchmarks.baselines direct PHOTOS --repeat 5
    python -m tests.benchmarks.baselines analysis-both PHOTOS
    python -m tests.benchmarks.baselines bare PHOTOS

`analysis-both` is `analysis` at insightface's own two sizes, `bare` two single-threaded
processes that do nothing but decode, detect at 640 and embed, with insightface's classes.

Each prints one JSON line: pictures, faces, wall seconds and CPU seconds of the loop alone
(models are loaded and warm).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

PROCESSES = 2
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Loop = Callable[[Sequence[Path]], int]
"""Works on every photo once; the number of faces embedded."""


def photos(folder: Path) -> list[Path]:
    """Every JPEG and PNG below ``folder``, in order of name."""
    return sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png"})


def face_analysis(size: int = 640, threads: int = 0) -> Any:
    """insightface's ``FaceAnalysis`` on the pack's detection and recognition models, as
    its own documentation starts it; at ``size``, 0 for its own two sizes. Its sessions have
    ``threads`` threads, 0 for onnxruntime's own choice, one a core."""
    import onnxruntime
    from insightface.app import FaceAnalysis

    from pipeline.config.settings import load_settings
    from pipeline.sessions import registry
    from pipeline.sessions.base import ModelTask

    info = registry.choose(load_settings())
    # It loads every model of a directory, stops at one that it does not know, and
    # reads the detector's file again at its first picture.
    folder = tempfile.TemporaryDirectory()
    for file in info.files:
        if file.task in {ModelTask.DETECTION, ModelTask.RECOGNITION}:
            (Path(folder.name) / file.name).symlink_to((info.path / file.name).resolve())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    app = FaceAnalysis(folder.name, providers=["CPUExecutionProvider"], sess_options=options)
    app.prepare(ctx_id=0, det_size=(size, size))
    app.folder = folder  # as long as it is used
    return app


def analysis_loop(size: int = 640) -> Loop:
    """``face_analysis`` on one photo after the other."""
    import cv2

    app = face_analysis(size)
    return lambda paths: sum(len(app.get(cv2.imread(str(path)))) for path in paths)


def direct_loop() -> Loop:
    """Decode, detect, align and embed the largest face, with the service's own stages
    and settings."""
    import cv2

    from pipeline.config.settings import load_settings
    from pipeline.media.pictures import PictureLimits
    from pipeline.sessions import registry
    from pipeline.stages.align import align_faces
    from pipeline.stages.decode import decode
    from pipeline.stages.detect import detect_largest
    from pipeline.stages.embed import embed

    cv2.setNumThreads(1)
    settings = load_settings()
    pack = registry.load(registry.choose(settings), settings)
    limits = PictureLimits.from_settings(settings)

    def one(path: Path) -> int:
        picture = decode(path.read_bytes(), limits)
        faces = detect_largest(picture, pack.detector())
        return len(embed(align_faces(picture, faces, pack.embedder()), pack.embedder()))

    return lambda paths: sum(one(path) for path in paths)


def bare_loop() -> Loop:
    """Decode, detect at 640 and embed the largest face with insightface's classes on
    single-threaded sessions, and nothing else."""
    import cv2
    import onnxruntime
    from insightface.app.common import Face
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.scrfd import SCRFD

    from pipeline.config.settings import load_settings
    from pipeline.sessions import registry
    from pipeline.sessions.base import ModelTask

    cv2.setNumThreads(1)
    info = registry.choose(load_settings())

    def session(task: ModelTask) -> tuple[str, Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(next(info.path / file.name for file in info.files if file.task is task))
        return path, onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )

    path, opened = session(ModelTask.DETECTION)
    detector = SCRFD(model_file=path, session=opened, static_shape_sessions=False)
    path, opened = session(ModelTask.RECOGNITION)
    embedder = ArcFaceONNX(model_file=path, session=opened)

    def one(photo: Path) -> int:
        picture = cv2.imread(str(photo))
        boxes, points = detector.detect(picture, input_size=(640, 640), det_thresh=0.5)
        if not len(boxes):
            return 0
        sides = boxes[:, 2:4] - boxes[:, :2]
        embedder.get(picture, Face(kps=points[sides.prod(axis=1).argmax()]))
        return 1

    return lambda paths: sum(one(path) for path in paths)


def measure(make: Callable[[], Loop], paths: Sequence[Path], repeat: int) -> dict[str, float]:
    """Run the loop ``repeat`` times over the photos, after one that warms up."""
    loop = make()
    loop(paths[:5])
    cpu, wall = time.process_time(), time.perf_counter()
    faces = sum(loop(paths) for _ in range(repeat))
    return {
        "pictures": len(paths) * repeat,
        "faces": faces,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }


def measure_in_processes(
    make: Callable[[], Loop], paths: Sequence[Path], repeat: int
) -> dict[str, float]:
    """A loop in two single-threaded processes, each on every photo; pictures
    of both over the time from the common start to the last one's end."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.SimpleQueue()
    workers = [
        context.Process(target=_share, args=(make, barrier, results, paths, repeat))
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    parts = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {
        "pictures": sum(part["pictures"] for part in parts),
        "faces": sum(part["faces"] for part in parts),
        "wall_s": max(part["wall_s"] for part in parts),
        "cpu_s": sum(part["cpu_s"] for part in parts),
    }


def _share(
    make: Callable[[], Loop], barrier: Barrier, results: Any, paths: Sequence[Path], repeat: int
) -> None:
    def begin() -> Loop:
        loop = make()
        loop(paths[:5])
        barrier.wait()
        return loop

    results.put(measure(begin, paths, repeat))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["analysis", "analysis-both", "direct", "bare"])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    paths = photos(options.photos)
    if options.kind in {"analysis", "analysis-both"}:
        size = 640 if options.kind == "analysis" else 0
        result = measure(partial(analysis_loop, size), paths, options.repeat)
    else:
        # Before numpy is imported in the children.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        make = direct_loop if options.kind == "direct" else bare_loop
        result = measure_in_processes(make, paths, options.repeat)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
