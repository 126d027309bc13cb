"""A chunk of a batch: many pictures analysed together and enrolled in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection, Engine

from pipeline import storage_keys
from pipeline.analysis.criteria import criteria_fingerprint
from pipeline.analysis.engine import AnalysedPicture, PictureRequest, analyse_pictures
from pipeline.batches.chunks import ChunkReader, chunk_of, lock_items, record_outcomes
from pipeline.batches.duplicate_candidates import CandidateReader, DuplicateSearchConfig
from pipeline.batches.model import SAME_PICTURE, BatchItem, BatchOptions, ItemOutcome, ItemState
from pipeline.batches.refused_pictures import record_pictures
from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.errors import BadInput, FaceError, MediaCorrupt, MediaNotFound
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import model_of, new_face, quality_json
from pipeline.gallery.enrolment import EnrolledImage, enrol_locked
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.records import EnrolmentRequest, NewFace, NewImage
from pipeline.gallery.trash import discard_many
from pipeline.gallery.writer import GalleryWriter, lock_tenant
from pipeline.jobs.damage import judge
from pipeline.jobs.model import Job
from pipeline.operations import DUPLICATE_SEARCH, Plan, enrolment_analysis
from pipeline.stages.thumbnail import thumbnail
from pipeline.types import AnalysisOptions, JsonObject, Picture, VectorModel

# Bytes of pictures that are held at a time, beyond the one that reaches them.
HELD_BYTES = 64 * 1024 * 1024

# Objects that are read at a time: each waits for its store, which is another machine.
READERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class InspectedItem:
    """An item of a batch: its analysed picture, or why it is refused, and the id that the
    picture's bytes give it."""

    item: BatchItem
    analysis: AnalysedPicture | FaceError
    image_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InspectedChunk:
    """Stays in the process, which carries out all of its plan."""

    options: BatchOptions
    items: list[InspectedItem]
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    """Of the items that are, or may be, refused, by number."""

    @property
    def analysis(self) -> AnalysisOptions:
        return _analysis(self.options)


def open_bulk(settings: Settings, engine: Engine, resources: Resources) -> Iterable[object]:
    return [
        ChunkReader(
            engine, partial(criteria_fingerprint, resources.pack.info, settings),
            keeps_pictures=settings.refused_picture_retention_d > 0,
        ),
        DuplicateSearchConfig(
            CandidateReader(engine, resources.keys), settings.bulk_false_findings,
            settings.bulk_apart_fmr,
        ),
    ]


def inspect_chunk(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """Analyse the pictures of a chunk; a duplicate search has none. Raises ``PackMismatch``,
    ``MediaUnavailable``, ``MediaCorrupt``, and what ``analyse_pictures`` raises."""
    if plan is DUPLICATE_SEARCH:
        return context
    chunks = resources.get(ChunkReader)
    model = model_of(resources.pack)
    # The effect checks again. Checking here spares the analysis while the job waits for
    # another pack.
    chunks.check_model(job.tenant_id, model)
    options, items = chunks.read(job.params)
    thumbnails = _Thumbnails(chunks.room_for_pictures(job.params) if items else 0)
    if thumbnails.room:
        thumbnails.doubtful = chunks.missing_collections(job.tenant_id, items)
    inspected: list[InspectedItem] = []
    for group in _groups(items):
        inspected += _inspect_group(job, group, _analysis(options), resources, thumbnails)
    return replace(context, model=model).add(InspectedChunk(options, inspected, thumbnails.made))


def finish_bulk(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect ``PackMismatch``, ``TenantNotFound``."""
    assert context.model is not None
    chunk = context.get(InspectedChunk)
    criteria = resources.get(ChunkReader).criteria(chunk.analysis)
    batch_id, numbers = chunk_of(job.params)
    pictures = _refused_objects(job, batch_id, chunk.thumbnails, resources)
    picture_keys = dict(zip(chunk.thumbnails, pictures, strict=True))
    images = _store_objects(
        job, chunk.items, context.model, resources, pictures,
        all_faces=chunk.options.faces == "all",
    )

    def effect(connection: Connection) -> JsonObject:
        now = database_time(connection.engine)
        # Every enrolment locks the gallery before it locks the batch.
        writer = lock_tenant(connection, job.tenant_id)
        read = {each.item.number: each.item.media_key for each in chunk.items}
        # An item that was encrypted meanwhile has another key: it goes on waiting and is
        # read once more.
        locked = [
            each for each in lock_items(connection, batch_id, numbers)
            if each.item.media_key == read.get(each.item.number)
        ]
        waiting = {each.item.number: each.collections for each in locked}
        writer.key = resources.keys.data_key(job.tenant_id)
        outcomes, unused = _enrol(writer, images, waiting, now)
        outcomes += _refusals(chunk.items, waiting, criteria)
        record_outcomes(connection, locked, outcomes, now)
        refused = {each.number for each in outcomes if each.state is ItemState.REJECTED}
        kept = record_pictures(
            connection, job.tenant_id, batch_id,
            {number: key for number, key in picture_keys.items() if number in refused}, now,
        )
        unused += [key for key in pictures if key not in kept]
        discard_many(connection, job.tenant_id, unused, now)
        return {state: sum(each.state is state for each in outcomes) for state in _ENDS}

    stored = [face.face_key for image in images for face in image.faces]
    return JobOutcome({}, effect, (*stored, *pictures))


_ENDS = (ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED)


def _analysis(options: BatchOptions) -> AnalysisOptions:
    return enrolment_analysis(options.faces, gate=options.gate)


# Analysing ---------------------------------------------------------------------


@dataclass(slots=True)
class _Thumbnails:
    """Makes small pictures, at most ``room``, of items in which nothing is to be enrolled, and of
    those whose collection is ``doubtful``."""

    room: int
    doubtful: set[str] = field(default_factory=set)
    made: dict[int, bytes] = field(default_factory=dict)

    def look(self, item: BatchItem, pixels: Picture, error: FaceError | None) -> None:
        is_refused = error is not None or item.about.collection in self.doubtful
        if is_refused and len(self.made) < self.room:
            self.made[item.number] = thumbnail(pixels)


def _groups(items: Sequence[BatchItem]) -> Iterator[list[BatchItem]]:
    """Items in their order, as many at a time as may be held."""
    group: list[BatchItem] = []
    for item in items:
        group.append(item)
        if sum(each.size for each in group) >= HELD_BYTES:
            yield group
            group = []
    if group:
        yield group


def _inspect_group(
    job: Job, group: Sequence[BatchItem], options: AnalysisOptions, resources: Resources,
    thumbnails: _Thumbnails,
) -> list[InspectedItem]:
    """One answer an item, in order."""
    with ThreadPoolExecutor(READERS) as readers:
        read = list(readers.map(partial(_read, job, resources), group))
    pictures = [
        PictureRequest(data, options, watch=partial(thumbnails.look, item))
        for item, data in zip(group, read, strict=True) if isinstance(data, bytes)
    ]
    analyses = iter(analyse_pictures(pictures, resources))
    return [
        InspectedItem(item, next(analyses), default_image_id(data)) if isinstance(data, bytes)
        else InspectedItem(item, data)
        for item, data in zip(group, read, strict=True)
    ]


def _read(job: Job, resources: Resources, item: BatchItem) -> bytes | FaceError:
    """Raises ``MediaCorrupt`` for an object that may be whole at the next try."""
    try:
        return resources.media.get(item.media_key)
    except MediaNotFound as error:
        return error
    except MediaCorrupt as error:
        judged = judge(error, job, resources.now())
        if judged.retryable:
            raise
        return judged


# Enrolling ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FoundImage:
    """A picture whose faces are to be enrolled; their objects are stored already."""

    number: int
    image: NewImage
    model: VectorModel
    faces: tuple[NewFace, ...] = field(repr=False)
    left_out: int = 0

    @property
    def face_keys(self) -> list[str]:
        return [face.face_key for face in self.faces]


def _store_objects(
    job: Job, items: Sequence[InspectedItem], model: VectorModel, resources: Resources,
    pictures: Mapping[str, bytes], *, all_faces: bool,
) -> list[_FoundImage]:
    """The pictures that passed; their face cutouts are stored together with ``pictures``."""
    images = []
    objects = dict(pictures)
    counts: Counter[str] = Counter()
    for each in items:
        if isinstance(each.analysis, FaceError):
            continue
        faces = tuple(_faces(job, each.item, each.analysis, resources, counts))
        cutouts = each.analysis.examined.cutouts
        objects |= zip((face.face_key for face in faces), cutouts, strict=True)
        left_out = len(each.analysis.examined.faces) - len(faces) if all_faces else 0
        image = _image(each, each.analysis)
        images.append(_FoundImage(each.item.number, image, model, faces, left_out))
    resources.media.put_many(list(objects.items()))
    return images


def _image(inspected: InspectedItem, analysis: AnalysedPicture) -> NewImage:
    item = inspected.item
    return NewImage(
        image_id=inspected.image_id, sha256=item.sha256, media_key=item.media_key,
        size=item.size, width=analysis.examined.width, height=analysis.examined.height,
        format=analysis.header.format,
        description=item.about.description,
    )


def _faces(
    job: Job, item: BatchItem, analysis: AnalysedPicture, resources: Resources,
    counts: Counter[str],
) -> Iterator[NewFace]:
    """``counts`` numbers objects of equal bytes: each face has an object of its own, and
    all share a directory."""
    owner = _owner(job)
    examined = analysis.examined
    faces = zip(  # others may have been found, too
        examined.faces, examined.cutouts, examined.qualities, analysis.embeddings, strict=False
    )
    for face, jpeg, quality, embedding in faces:
        name = resources.media.name(job.tenant_id, jpeg)
        counts[name] += 1
        key = storage_keys.face_media(job.tenant_id, owner, counts[name], name)
        yield new_face(face, quality_json(quality), embedding, key=key, name=item.about.name)


def _refused_objects(
    job: Job, batch_id: str, thumbnails: Mapping[int, bytes], resources: Resources
) -> dict[str, bytes]:
    """The objects of these small pictures, by key, in their order."""
    counts: Counter[str] = Counter()
    objects = {}
    for jpeg in thumbnails.values():
        name = resources.media.name(job.tenant_id, jpeg)
        counts[name] += 1
        key = storage_keys.refused_media(job.tenant_id, batch_id, _owner(job), counts[name], name)
        objects[key] = jpeg
    return objects


def _owner(job: Job) -> str:
    """Makes objects those of one try by its fence: another one cannot discard them."""
    return f"{job.id}.{job.fence}"


def _enrol(
    writer: GalleryWriter, images: Sequence[_FoundImage],
    waiting: Mapping[int, tuple[str, ...]], now: float,
) -> tuple[list[ItemOutcome], list[str]]:
    """(outcomes of the pictures that still wait, objects that got no row)."""
    due = [image for image in images if image.number in waiting]
    unused = [key for image in images if image.number not in waiting for key in image.face_keys]
    requests = [
        EnrolmentRequest(each.image, each.faces, each.model, waiting[each.number]) for each in due
    ]
    results = enrol_locked(writer, requests, now)
    outcomes = []
    first: dict[int, int] = {}  # the item that brought an image first, by image
    for image, result in zip(due, results, strict=True):
        if isinstance(result, FaceError):
            unused += image.face_keys
            outcomes.append(_rejected(image.number, result))
            continue
        outcomes.append(_outcome(image, result, first.get(result.image_ref)))
        first.setdefault(result.image_ref, image.number)
    return outcomes, unused


def _outcome(image: _FoundImage, enrolled: EnrolledImage, original: int | None) -> ItemOutcome:
    new = enrolled.added > 0
    detail = f"{image.left_out} smaller faces were not enrolled" if image.left_out else ""
    return ItemOutcome(
        image.number, ItemState.ENROLLED if new else ItemState.DUPLICATE,
        reason="" if new else SAME_PICTURE, detail=detail, original=None if new else original,
        image_ref=enrolled.image_ref, face_id=enrolled.faces[0], faces=len(enrolled.faces),
    )


def _refusals(
    items: Sequence[InspectedItem], waiting: Mapping[int, tuple[str, ...]], criteria: str
) -> list[ItemOutcome]:
    """The outcomes of the pictures in which nothing is to be enrolled."""
    return [
        _rejected(each.item.number, each.analysis, criteria)
        for each in items
        if isinstance(each.analysis, FaceError) and each.item.number in waiting
    ]


def _rejected(number: int, error: FaceError, criteria: str = "") -> ItemOutcome:
    # Under the same criteria the picture is refused for the same reason again.
    under = criteria if isinstance(error, BadInput) else ""
    return ItemOutcome(
        number, ItemState.REJECTED, reason=error.code, detail=error.message,
        criteria=under or None,
    )
