"""What travels through the stages of a job, and how a job ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.chunks import Chunks
from pipeline.batches.comparison import DoublesSearch
from pipeline.batches.model import BatchItem, Options
from pipeline.bulk.engine import Seen, Wanted
from pipeline.calibration import Calibration
from pipeline.errors import FaceError, IntermediateLost
from pipeline.fetching.base import Fetcher
from pipeline.gallery.clips import UsedClips
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.groups import CollectionStore
from pipeline.gallery.trash import Trash
from pipeline.index.base import Hit
from pipeline.index.views import Views
from pipeline.jobs.model import Job, JsonObject
from pipeline.jobs.store import Effect
from pipeline.keys import is_transient_of
from pipeline.living.options import LivingOptions
from pipeline.media.base import MediaStore
from pipeline.media.header import PictureLimits
from pipeline.sandbox.sandbox import Sandbox
from pipeline.secrets import KeySource, NoKeys
from pipeline.sessions.base import Pack
from pipeline.types import Crop, Face, Picture, Quality, QualityLimits, VectorModel


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """An item of a batch: what was seen in its picture, or why it is refused, and the id
    that the picture's bytes give it."""

    item: BatchItem
    answer: Seen | FaceError
    image_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
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
    faces: list[list[Face]] = field(default_factory=list)
    crops: list[list[Crop]] = field(default_factory=list)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    qualities: list[list[Quality]] = field(default_factory=list)
    cutouts: list[list[bytes]] = field(default_factory=list)
    model: VectorModel | None = None
    hits: list[Hit] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    living: JsonObject | None = None
    livenesses: list[list[float]] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    options: Options | None = None

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
class Toolbox:
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
    views: Views | None = None
    sandbox: Sandbox | None = None
    fetcher: Fetcher | None = None
    keys: KeySource = field(default_factory=NoKeys)
    living: LivingOptions = field(default_factory=LivingOptions)
    used_clips: UsedClips | None = None
    chunks: Chunks | None = None
    judged: Callable[[Wanted], str] | None = None
    doubles: DoublesSearch | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a job ends: with ``result``, or with what ``effect`` returns; ``stored`` are
    the objects that the effect gives a row, of no use when it fails."""

    result: JsonObject
    effect: Effect | None = None
    stored: tuple[str, ...] = ()
