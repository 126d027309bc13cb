"""The data that pass through the stages of a job, the resources of a worker, and the outcome
of a job.

Data of a single operation are defined with that operation, as a value of a type of its own:
``JobContext.add`` and ``get``, ``Resources.get``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.engine import ExaminedPicture
from pipeline.analysis.result_cache import AnalysisCache, AnalysisKey, KeptAnalysis
from pipeline.calibration.table import Calibration
from pipeline.database.clock import database_time
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import IntermediateLost, TaskUnsupported
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.trash import Trash
from pipeline.jobs.model import Effect, Job
from pipeline.media.base import MediaStore
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.storage_keys import is_transient_of
from pipeline.types import Crop, DetectedFace, JsonObject, Picture, QualityLimits, VectorModel

T = TypeVar("T")

@dataclass(frozen=True, slots=True, eq=False)
class CachedPicture:
    """The ``key`` under which the result for a picture is kept, None when it is not to be
    kept; the result, once it is ``known``; and what was ``examined`` in this job."""

    key: AnalysisKey | None = None
    known: KeptAnalysis | None = None
    examined: ExaminedPicture | None = None


FaceDetail = float | dict[str, float]
"""What a result says of one face under one name, as JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class JobContext:
    """The intermediate results of a job; each list has one entry a picture.

    ``media`` are the keys of all pictures once some were fetched, else it is empty.
    ``sizes`` are (width, height) of the upright pictures; ``pictures`` is empty once no
    stage needs the pixels any more. ``faces`` are sorted, largest first. ``face_details`` are
    the members that results give each chosen face, the first of ``faces``, by name: ``quality``,
    ``liveness``. ``crops`` are the faces to embed, ``embeddings`` have shape (crops,
    dimension), and ``model`` made them. ``values`` are the operation's own, by the name of
    their type; those that cross to another worker are msgspec structs. ``cached`` says what the
    process keeps of the pictures; it is empty where none is kept, and crosses to no other.
    """

    media: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    faces: list[list[DetectedFace]] = field(default_factory=list)
    face_details: dict[str, list[list[FaceDetail]]] = field(default_factory=dict)
    crops: list[list[Crop]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    model: VectorModel | None = None
    values: dict[str, object] = field(default_factory=dict)
    cached: list[CachedPicture] = field(default_factory=list)

    def add(self, value: object) -> JobContext:
        """This context with the operation's own ``value``."""
        return replace(self, values={**self.values, type(value).__name__: value})

    def get(self, kind: type[T]) -> T:
        """The operation's own value of this type, computed here or on another worker.

        Raises ``IntermediateLost`` when there is none or its bytes are not of this type:
        the job then starts over.
        """
        value = self.values.get(kind.__name__)
        if isinstance(value, kind):
            return value
        if not isinstance(value, msgspec.Raw):
            raise IntermediateLost
        try:
            return msgspec.msgpack.decode(bytes(value), type=kind)
        except msgspec.DecodeError as error:
            raise IntermediateLost(f"An intermediate value cannot be read: {error}") from error

    def media_of(self, job: Job) -> tuple[str, ...]:
        """The keys of all pictures of ``job``. Raises ``IntermediateLost`` when they are
        not its own: a context comes from a server that others can reach."""
        if not self.media:
            return job.media
        if len(self.media) != len(job.media) or not all(
            found == sent or (not sent and is_transient_of(found, job.tenant_id, job.id))
            for found, sent in zip(self.media, job.media, strict=True)
        ):
            raise IntermediateLost("An intermediate value names pictures of another job.")
        return tuple(self.media)


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a worker for the stages of every operation.

    ``calibration`` is the pack's table, None when it has none; ``own_calibrations`` are those
    made from single tenants' galleries, which precede it. Media are decoded in
    ``sandbox``; None decodes them in this process. ``keys`` are those of tenants whose data
    are encrypted. ``results`` of the last pictures are kept only where this process decodes,
    detects and embeds. ``own`` holds the resources of single stages, by type, on workers that serve
    these stages (``registry.STAGES`` opens it).
    """

    media: MediaStore
    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    calibration: Calibration | None
    gallery: FaceStore
    trash: Trash
    sandbox: Sandbox | None = None
    keys: KeySource = field(default_factory=NoKeys)
    results: AnalysisCache | None = None
    own: Mapping[type, object] = field(default_factory=dict)
    own_calibrations: Mapping[int, Calibration] = field(default_factory=dict)
    may_switch: bool = False
    """Whether a gallery may come to be served by another pack meanwhile."""

    def calibration_of(self, tenant_id: int) -> Calibration | None:
        """The table that makes a tenant's scores, None without any."""
        return self.own_calibrations.get(tenant_id, self.calibration)

    def now(self) -> float:
        """Epoch seconds by the database's clock. Raises ``DatabaseUnavailable``."""
        return database_time(self.gallery.engine)

    def get(self, kind: type[T]) -> T:
        """A resource of a single stage. Raises ``TaskUnsupported`` on a worker that does not
        serve the stage."""
        found = self.own.get(kind)
        if not isinstance(found, kind):
            raise TaskUnsupported(f"this worker serves no stage that needs {kind.__name__}")
        return found


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ends: with ``result``, or with the result that ``effect`` returns. ``stored``
    are the objects that the effect gives a row; they are discarded when it fails."""

    result: JsonObject
    effect: Effect | None = None
    stored: tuple[str, ...] = ()
