"""A chunk of a batch: many pictures looked at together, and enrolled in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection

from pipeline import storage_keys
from pipeline.batches.chunks import chunk_of, lock_items, record_outcomes
from pipeline.batches.model import SAME_PICTURE, BatchItem, BatchOptions, ItemOutcome, ItemState
from pipeline.bulk.engine import AnalysedPicture, BulkResources, FaceSelection, analyse_pictures
from pipeline.errors import BadInput, FaceError, MediaCorrupt, MediaNotFound, TaskUnsupported
from pipeline.execution.context import InspectedItem, JobContext, JobOutcome, Resources
from pipeline.execution.results import model_of, new_face
from pipeline.gallery.enrolment import EnrolledImage, enrol_many
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.records import EnrolmentRequest, NewFace, NewImage
from pipeline.gallery.trash import discard_many
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import Job
from pipeline.plans import Plan
from pipeline.types import JsonObject, VectorModel

# Bytes of pictures that are held at a time, beyond the one that reaches them.
HELD_BYTES = 64 * 1024 * 1024

# Objects that are read at a time: each waits for its store, which is another machine.
READERS = 4


def inspect_chunk(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    """See what is in the pictures of a chunk. Raises ``PackMismatch``,
    ``MediaUnavailable``, and what ``bulk.engine.look`` raises."""
    if tools.chunks is None:
        raise TaskUnsupported("this worker enrols no batches")
    model = model_of(tools.pack)
    # Said again at the end; but whoever waits for another pack need not see every picture
    # at each try.
    tools.chunks.check_model(job.tenant_id, model)
    options, items = tools.chunks.read(job.params)
    bulk_tools = BulkResources(tools.pack, tools.limits, tools.quality_limits, tools.sandbox)
    looked: list[InspectedItem] = []
    for group in _groups(items):
        looked += _inspect_group(group, _wanted(options), bulk_tools, tools)
    return replace(carry, options=options, looked=looked, model=model)


def finish_bulk(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect ``PackMismatch``, ``TenantNotFound``."""
    assert carry.model is not None
    assert carry.options is not None
    judged = "" if tools.judged is None else tools.judged(_wanted(carry.options))
    finds = _store_faces(job, carry.looked, carry.model, tools)
    batch_id, numbers = chunk_of(job.params)

    def effect(connection: Connection) -> JsonObject:
        now = time.time()
        # Whoever enrols waits for the gallery before he waits for the batch.
        lock_tenant(connection, job.tenant_id)
        read = {each.item.number: each.item.media_key for each in carry.looked}
        # What was encrypted meanwhile is read once more: it goes on waiting.
        locked = [
            each for each in lock_items(connection, batch_id, numbers)
            if each.item.media_key == read.get(each.item.number)
        ]
        waiting = {each.item.number: each.collections for each in locked}
        outcomes, unused = _enrol(connection, job.tenant_id, finds, waiting, tools, now)
        outcomes += _refusals(carry.looked, waiting, judged)
        discard_many(connection, job.tenant_id, unused, now)
        record_outcomes(connection, locked, outcomes, now)
        return {state: sum(each.state is state for each in outcomes) for state in _ENDS}

    stored = tuple(face.face_key for find in finds for face in find.faces)
    return JobOutcome({}, effect, stored)


_ENDS = (ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED)


def _wanted(options: BatchOptions) -> FaceSelection:
    return FaceSelection(options.faces, options.gate)


# Seeing ------------------------------------------------------------------------


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
    group: Sequence[BatchItem], wanted: FaceSelection, bulk_tools: BulkResources, tools: Resources
) -> list[InspectedItem]:
    """One answer an item, in order."""
    with ThreadPoolExecutor(READERS) as readers:
        read = list(readers.map(partial(_read, tools), group))
    seen = iter(
        analyse_pictures([data for data in read if isinstance(data, bytes)], wanted, bulk_tools)
    )
    return [
        InspectedItem(item, next(seen), default_image_id(data)) if isinstance(data, bytes)
        else InspectedItem(item, data)
        for item, data in zip(group, read, strict=True)
    ]


def _read(tools: Resources, item: BatchItem) -> bytes | FaceError:
    try:
        return tools.media.get(item.media_key)
    except (MediaNotFound, MediaCorrupt) as error:
        return error


# Enrolling ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FoundImage:
    """A picture whose faces are to be enrolled; their objects are stored already."""

    number: int
    image: NewImage
    model: VectorModel
    faces: tuple[NewFace, ...] = field(repr=False)

    @property
    def face_keys(self) -> list[str]:
        return [face.face_key for face in self.faces]


def _store_faces(
    job: Job, looked: Sequence[InspectedItem], model: VectorModel, tools: Resources
) -> list[_FoundImage]:
    """What was found in the pictures that were fit, its face pictures stored together."""
    finds = []
    objects: dict[str, bytes] = {}
    met: Counter[str] = Counter()
    for each in looked:
        if isinstance(each.answer, FaceError):
            continue
        faces = tuple(_faces(job, each.item, each.answer, tools, met))
        objects |= zip((face.face_key for face in faces), each.answer.cutouts, strict=True)
        finds.append(_FoundImage(each.item.number, _image(each, each.answer), model, faces))
    tools.media.put_many(list(objects.items()))
    return finds


def _image(looked: InspectedItem, seen: AnalysedPicture) -> NewImage:
    item = looked.item
    return NewImage(
        image_id=looked.image_id, sha256=item.sha256, media_key=item.media_key,
        size=item.size, width=seen.width, height=seen.height, format=seen.format,
        description=item.about.description,
    )


def _faces(
    job: Job, item: BatchItem, seen: AnalysedPicture, tools: Resources, met: Counter[str]
) -> Iterator[NewFace]:
    """``met`` counts the names of the chunk's objects: each is stored as often as it is
    met, and all beside each other, which spares a directory for each."""
    # The fence makes the objects those of one try: another one cannot discard them.
    owner = f"{job.id}.{job.fence}"
    each = zip(seen.faces, seen.cutouts, seen.qualities, seen.embeddings, strict=True)
    for face, jpeg, quality, embedding in each:
        name = tools.media.name(job.tenant_id, jpeg)
        met[name] += 1
        key = storage_keys.face_media(job.tenant_id, owner, met[name], name)
        yield new_face(face, quality, embedding, key=key, name=item.about.name)


def _enrol(
    connection: Connection, tenant_id: int, finds: Sequence[_FoundImage],
    waiting: Mapping[int, tuple[str, ...]], tools: Resources, now: float,
) -> tuple[list[ItemOutcome], list[str]]:
    """(what became of the pictures that still wait, objects that nobody has taken)."""
    due = [find for find in finds if find.number in waiting]
    unused = [key for find in finds if find.number not in waiting for key in find.face_keys]
    pictures = [
        EnrolmentRequest(find.image, find.faces, find.model, waiting[find.number]) for find in due
    ]
    key = tools.keys.data_key(tenant_id)
    outcomes = []
    first: dict[int, int] = {}  # pictures, and the items that have brought them
    for find, answer in zip(
        due, enrol_many(connection, tenant_id, pictures, now, key), strict=True
    ):
        if isinstance(answer, FaceError):
            unused += find.face_keys
            outcomes.append(_rejected(find.number, answer))
            continue
        outcomes.append(_outcome(find.number, answer, first.get(answer.image_ref)))
        first.setdefault(answer.image_ref, find.number)
    return outcomes, unused


def _outcome(number: int, entered: EnrolledImage, original: int | None) -> ItemOutcome:
    new = entered.added > 0
    return ItemOutcome(
        number, ItemState.ENROLLED if new else ItemState.DUPLICATE,
        reason="" if new else SAME_PICTURE, original=None if new else original,
        image_ref=entered.image_ref, face_id=entered.faces[0], faces=len(entered.faces),
    )


def _refusals(
    looked: Sequence[InspectedItem], waiting: Mapping[int, tuple[str, ...]], judged: str
) -> list[ItemOutcome]:
    """What became of the pictures in which nothing is to be enrolled."""
    return [
        _rejected(each.item.number, each.answer, judged)
        for each in looked
        if isinstance(each.answer, FaceError) and each.item.number in waiting
    ]


def _rejected(number: int, error: FaceError, judged: str = "") -> ItemOutcome:
    # What the picture is refused for it will be refused for again.
    under = judged if isinstance(error, BadInput) else ""
    return ItemOutcome(
        number, ItemState.REJECTED, reason=error.code, detail=error.message,
        criteria=under or None,
    )
