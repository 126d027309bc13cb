"""What travels through the stages of a job, and how a job ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.chunks import ChunkReader
from pipeline.batches.duplicate_candidates import DuplicateSearchConfig
from pipeline.batches.model import BatchItem, BatchOptions
from pipeline.bulk.engine import AnalysedPicture, FaceSelection
from pipeline.calibration.table import Calibration
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import FaceError, IntermediateLost
from pipeline.fetching.base import Fetcher
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.trash import Trash
from pipeline.gallery.used_clips import UsedClips
from pipeline.index.base import Hit
from pipeline.index.tenant_views import TenantViews
from pipeline.jobs.model import Job
from pipeline.jobs.store import Effect
from pipeline.living.options import LivingOptions
from pipeline.media.base import MediaStore
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.storage_keys import is_transient_of
from pipeline.types import (
    Crop,
    DetectedFace,
    JsonObject,
    Picture,
    Quality,
    QualityLimits,
    VectorModel,
)


@dataclass(frozen=True, slots=True, eq=False)
class InspectedItem:
    """An item of a batch: what was seen in its picture, or why it is refused, and the id
    that the picture's bytes give it."""

    item: BatchItem
    answer: AnalysedPicture | FaceError
    image_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class JobContext:
    """What has been computed of a job so far; each list has one entry a picture.

    ``sizes`` are (width, height) of the upright pictures, ``faces`` stand largest
    first, ``crops`` are the faces to embed, ``embeddings`` have shape (crops,
    dimension). ``qualities`` and ``cutouts`` (JPEG) belong to the same faces, where the
    plan wants them. ``pictures`` is empty once nothing needs the pixels any more;
    ``model`` made the embeddings; ``hits`` are what the index found, best first.
    ``media`` are the keys of all pictures once some were fetched, else it is empty.
    ``living`` is the verdict on a clip; ``livenesses`` (0 to 1) belong to the same faces as
    the qualities, where a job asks for them. ``looked`` is what was seen of a batch's chunk
    and ``options`` how it is enrolled; both stay in the process, which is their only one.
    """

    pictures: list[Picture] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    faces: list[list[DetectedFace]] = field(default_factory=list)
    crops: list[list[Crop]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    qualities: list[list[Quality]] = field(default_factory=list)
    cutouts: list[list[bytes]] = field(default_factory=list)
    model: VectorModel | None = None
    hits: list[Hit] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    living: JsonObject | None = None
    livenesses: list[list[float]] = field(default_factory=list)
    looked: list[InspectedItem] = field(default_factory=list)
    options: BatchOptions | None = None

    def media_of(self, job: Job) -> tuple[str, ...]:
        """The keys of all pictures of ``job``. Raises ``IntermediateLost`` when they are
        not its own: a carry comes from a server that others can reach."""
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
    """What a worker brings to the stages. ``calibration`` is the pack's table, None
    when it has none; ``views`` only an index process has, ``fetcher`` only a worker that
    may fetch. Media are decoded in ``sandbox``; None trusts them. ``keys`` are those of
    tenants whose data are encrypted; ``used_clips`` is None where clips may be used again.
    ``chunks`` only a worker of batches has; ``judged`` says under what a picture is found
    unfit there (``bulk.judging``), ``doubles`` how batches are searched in themselves."""

    media: MediaStore
    pack: Pack
    limits: PictureLimits
    calibration: Calibration | None
    quality_limits: QualityLimits
    gallery: FaceStore
    collections: CollectionStore
    trash: Trash
    views: TenantViews | None = None
    sandbox: Sandbox | None = None
    fetcher: Fetcher | None = None
    keys: KeySource = field(default_factory=NoKeys)
    living: LivingOptions = field(default_factory=LivingOptions)
    used_clips: UsedClips | None = None
    chunks: ChunkReader | None = None
    judged: Callable[[FaceSelection], str] | None = None
    doubles: DuplicateSearchConfig | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ends: with ``result``, or with what ``effect`` returns; ``stored`` are
    the objects that the effect gives a row, of no use when it fails."""

    result: JsonObject
    effect: Effect | None = None
    stored: tuple[str, ...] = ()
