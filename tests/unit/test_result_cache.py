"""Results of the last pictures: what is kept, for whom, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.analysis.engine import ExaminedPicture
from pipeline.analysis.result_cache import AnalysisCache, AnalysisKey, KeptAnalysis
from pipeline.config.settings import Settings
from pipeline.errors import BadQuality, FaceError, NoFace, PictureCorrupt
from pipeline.execution import pictures
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.registry import run_stage
from pipeline.media.pictures import PictureLimits
from pipeline.operations import PLANS, CompareParams, EnrolParams, Stage
from pipeline.sessions.base import SmallFaces
from pipeline.stages.decode import decode
from pipeline.storage_keys import ENCRYPTED_SUFFIX, plain_name
from pipeline.types import AnalysisOptions, Box, DetectedFace, Embedding, Picture
from tests.unit.pictures import encoded, image
from tests.unit.shim.rows import done

POINTS = np.array([[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]], np.float32)
LIMITS = PictureLimits(max_bytes=1_000_000, min_side=9, max_side=4000, max_pixels=10**7)
QUALITY_LIMITS: Any = SimpleNamespace(
    min_size=0, min_blur=0, min_brightness=0, max_brightness=255, min_contrast=0,
    max_yaw=90, max_pitch=90, max_roll=180,
)
ANALYSIS = (Stage.DECODE, Stage.DETECT, Stage.EMBED)


# The cache -----------------------------------------------------------------------


def key(number: int, tenant: int = 1) -> AnalysisKey:
    return AnalysisKey(tenant, f"{number:064}", AnalysisOptions())


def analysis(cutout: int = 0) -> KeptAnalysis:
    examined = ExaminedPicture(9, 9, [], [], [bytes(cutout)], [], [np.zeros((2, 2, 3), np.uint8)])
    return KeptAnalysis.of(examined, np.zeros((1, 4), np.float32))


def test_a_result_is_kept_for_a_time() -> None:
    now = [100.0]
    cache = AnalysisCache(10**6, 60.0, lambda: now[0])
    kept = analysis()
    cache.put(key(1), kept)
    now[0] += 59
    assert cache.get(key(1)) is kept
    assert cache.get(key(2)) is None
    assert cache.get(key(1, tenant=2)) is None
    now[0] += 1
    assert cache.get(key(1)) is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_crops_are_not_kept() -> None:
    kept = analysis()
    assert kept.examined is not None
    assert kept.examined.crops == []


def test_memory_is_bounded_and_the_oldest_go() -> None:
    cache = AnalysisCache(100_000, 60.0)
    for number in range(50):
        cache.put(key(number), analysis(20_000))
        assert cache.bytes <= 100_000
    assert [number for number in range(50) if cache.get(key(number))] == [46, 47, 48, 49]
    cache.put(key(99), analysis(200_000))
    assert cache.get(key(99)) is None
    cache.put(key(49), analysis(10))
    assert cache.bytes == sum(
        kept.size for number in range(50) if (kept := cache.get(key(number)))
    )


def test_an_error_is_raised_anew_each_time() -> None:
    error = BadQuality("blur", picture=1)
    kept = KeptAnalysis.of_error(error)
    raised: list[FaceError] = []
    for _ in range(2):
        with pytest.raises(BadQuality) as caught:
            kept.found()
        raised.append(caught.value)
        caught.value.picture = 1
    assert raised[0] is not raised[1]
    assert [(str(each), each.reason) for each in raised] == [(str(error), "blur")] * 2
    assert kept.error is not None
    assert (kept.error.picture, kept.error.__traceback__) == (None, None)


def test_zero_switches_it_off() -> None:
    assert AnalysisCache.from_settings(Settings(result_cache_mb=0)) is None
    assert AnalysisCache.from_settings(Settings()) is not None


# In a worker ---------------------------------------------------------------------


@dataclass
class Models:
    """A made-up pack that counts its runs."""

    faces: int = 1
    detected: int = 0
    embedded: int = 0
    scored: int = 0
    info: Any = field(
        default_factory=lambda: SimpleNamespace(
            name="edge", recognition_model="", dimension=512, files=()
        )
    )

    def detector(self) -> Models:
        return self

    def embedder(self) -> Models:
        return self

    def spoof_scorer(self) -> Models:
        return self

    @property
    def dimension(self) -> int:
        return 4

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        self.detected += 1
        return [
            DetectedFace(Box(10, 10, 60 + number, 60), 0.9, POINTS, "arcface5")
            for number in range(self.faces)
        ]

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        return next(iter(self.detect(picture)), None)

    def align(self, picture: Picture, landmarks: Any) -> Picture:
        return picture[:2, :2]

    def embed(self, crops: list[Picture]) -> NDArray[np.float32]:
        self.embedded += len(crops)
        return np.eye(4, dtype=np.float32)[[int(crop[0, 0, 0]) % 4 for crop in crops]]

    def score(self, picture: Picture, box: Box) -> float:
        self.scored += 1
        return 0.5


class Worker:
    """Runs the stages that analyse pictures, as a fused worker does."""

    def __init__(self, **own: Any) -> None:
        self.models = Models(**own)
        self.objects: dict[str, bytes] = {}
        self.resources = Resources(
            media=self, pack=self.models, limits=LIMITS,  # type: ignore[arg-type]
            quality_limits=QUALITY_LIMITS, calibration=None, gallery=None,  # type: ignore[arg-type]
            trash=None, results=AnalysisCache(10**6, 60.0),  # type: ignore[arg-type]
        )

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def analyse(
        self, operation: str, *files: bytes, tenant: int = 1, encrypted: bool = False,
        params: dict[str, Any] | None = None,
    ) -> JobContext:
        media = []
        for data in files:
            name = f"t{tenant}/transient/2026010100/x/{plain_name(data)}"
            name += ENCRYPTED_SUFFIX if encrypted else ""
            self.objects[name] = data
            media.append(name)
        job = replace(
            done(operation, {}), params=params or {}, media=tuple(media), tenant_id=tenant
        )
        context, plan = JobContext(), PLANS[operation]
        for stage in plan.stages:
            if stage in ANALYSIS:
                context = run_stage(stage, plan, job, context, self.resources)
        return context

    @property
    def runs(self) -> tuple[int, int]:
        return self.models.detected, self.models.embedded


def shot(colour: int) -> bytes:
    return encoded(image().point(lambda value: (value + colour) % 256), "png")


def vectors(context: JobContext) -> list[Embedding]:
    return [row for rows in context.embeddings for row in rows]


def same(one: JobContext, other: JobContext) -> bool:
    return (
        one.sizes == other.sizes and one.face_details == other.face_details
        and [[face.box for face in some] for some in one.faces]
        == [[face.box for face in some] for some in other.faces]
        and one.values.keys() == other.values.keys()
        and np.array_equal(vectors(one), vectors(other)) and one.crops == other.crops
    )


@pytest.mark.parametrize("operation", ["locate", "features", "search", "verify", "similarity"])
def test_the_same_picture_is_analysed_once(operation: str) -> None:
    worker = Worker()
    files = [shot(0), shot(1)][: 2 if operation in ("verify", "similarity") else 1]
    params = {"face_required": True} if operation == "locate" else {}
    first = worker.analyse(operation, *files, params=params)
    runs = worker.runs
    assert runs[0] == len(files)
    again = worker.analyse(operation, *files, params=params)
    assert worker.runs == runs
    assert same(first, again)


def test_an_enrolment_has_its_cutouts_from_what_is_kept() -> None:
    worker = Worker()
    first, again = (
        worker.analyse("enrol", shot(0), params=EnrolParams(faces="all").to_json())
        for _ in range(2)
    )
    assert worker.runs == (1, 1)
    assert same(first, again)
    assert first.values["FaceCutouts"] == again.values["FaceCutouts"]


def test_a_new_picture_beside_a_known_one() -> None:
    worker = Worker()
    worker.analyse("verify", shot(0), shot(1))
    mixed = worker.analyse("verify", shot(2), shot(1))
    assert worker.runs == (3, 3)
    fresh = Worker().analyse("verify", shot(2), shot(1))
    assert same(mixed, fresh)


def test_other_wishes_bytes_and_tenants_are_analysed_anew() -> None:
    worker = Worker()
    worker.analyse("features", shot(0))
    worker.analyse("search", shot(0))  # wants the quality, too
    worker.analyse("features", shot(1))
    worker.analyse("features", shot(0), tenant=2)
    assert worker.models.detected == 4


def test_encrypted_pictures_are_not_kept() -> None:
    worker = Worker()
    for _ in range(2):
        worker.analyse("features", shot(0), encrypted=True)
    assert worker.models.detected == 2
    assert worker.resources.results is not None
    assert len(worker.resources.results) == 0


def test_liveness_is_scored_each_time() -> None:
    worker = Worker()
    for _ in range(2):
        worker.analyse(
            "compare", shot(0), shot(1), params=CompareParams(liveness=True).to_json()
        )
    assert (worker.models.detected, worker.models.scored) == (4, 4)
    assert worker.resources.results is not None
    assert len(worker.resources.results) == 0


def test_a_picture_without_a_face_is_refused_twice_and_searched_once() -> None:
    worker = Worker(faces=0)
    for _ in range(2):
        with pytest.raises(NoFace) as caught:
            worker.analyse("verify", shot(0), shot(1))
        assert caught.value.picture == 0
    assert worker.models.detected == 1


def test_only_the_last_picture_of_a_job_is_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next decoding overwrites a borrowed one."""
    borrowed = []

    def spying(data: bytes, limits: PictureLimits, sandbox: None, *, borrow: bool) -> Picture:
        borrowed.append(borrow)
        return decode(data, limits, sandbox)

    monkeypatch.setattr(pictures, "decode", spying)
    Worker().analyse("similarity", shot(0), shot(1), shot(2))
    Worker().analyse("features", shot(0))
    assert borrowed == [False, False, True, True]


def test_failures_of_decoding_are_not_kept() -> None:
    worker = Worker()
    for _ in range(2):
        with pytest.raises(PictureCorrupt):
            worker.analyse("features", shot(0)[:200])
    assert worker.resources.results is not None
    assert len(worker.resources.results) == 0
