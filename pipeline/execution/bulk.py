"""A chunk of a batch: many pictures looked at together, and enrolled in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection

from pipeline import keys
from pipeline.batches.chunks import chunk_of
from pipeline.batches.model import SAME_PICTURE, BatchItem, ItemState, Options, Outcome
from pipeline.batches.settling import lock_items, settle_items
from pipeline.bulk.engine import BulkTools, Seen, Wanted, look
from pipeline.errors import BadInput, FaceError, MediaCorrupt, MediaNotFound, TaskUnsupported
from pipeline.execution.carry import Carry, Conclusion, Looked, Toolbox
from pipeline.execution.outcomes import model_of, new_face
from pipeline.gallery.changes import take
from pipeline.gallery.entering import Entered, enter
from pipeline.gallery.keep import default_image_id
from pipeline.gallery.records import Enrolment, NewFace, NewImage
from pipeline.gallery.trash import discard_many
from pipeline.jobs.model import Job, JsonObject
from pipeline.plans import Plan
from pipeline.types import VectorModel

# Bytes of pictures that are held at a time, beyond the one that reaches them.
HELD_BYTES = 64 * 1024 * 1024

# Objects that are read at a time: each waits for its store, which is another machine.
READERS = 4


def look_at_chunk(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    """See what is in the pictures of a chunk. Raises ``PackMismatch``,
    ``MediaUnavailable``, and what ``bulk.engine.look`` raises."""
    if tools.chunks is None:
        raise TaskUnsupported("this worker enrols no batches")
    model = model_of(tools.pack)
    # Said again at the end; but whoever waits for another pack need not see every picture
    # at each try.
    tools.chunks.check(job.tenant_id, model)
    options, items = tools.chunks.read(job.params)
    bulk_tools = BulkTools(tools.pack, tools.limits, tools.quality_limits, tools.sandbox)
    looked: list[Looked] = []
    for group in _groups(items):
        looked += _look_at(group, _wanted(options), bulk_tools, tools)
    return replace(carry, options=options, looked=looked, model=model)


def conclude_bulk(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """Raises ``MediaUnavailable``; the effect ``PackMismatch``, ``TenantNotFound``."""
    assert carry.model is not None
    assert carry.options is not None
    judged = "" if tools.judged is None else tools.judged(_wanted(carry.options))
    finds = _keep_faces(job, carry.looked, carry.model, tools)
    batch_id, numbers = chunk_of(job.params)

    def effect(connection: Connection) -> JsonObject:
        now = time.time()
        # Whoever enrols waits for the gallery before he waits for the batch.
        take(connection, job.tenant_id)
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
        settle_items(connection, locked, outcomes, now)
        return {state: sum(each.state is state for each in outcomes) for state in _ENDS}

    stored = tuple(face.face_key for find in finds for face in find.faces)
    return Conclusion({}, effect, stored)


_ENDS = (ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED)


def _wanted(options: Options) -> Wanted:
    return Wanted(options.faces, options.gate)


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


def _look_at(
    group: Sequence[BatchItem], wanted: Wanted, bulk_tools: BulkTools, tools: Toolbox
) -> list[Looked]:
    """One answer an item, in order."""
    with ThreadPoolExecutor(READERS) as readers:
        read = list(readers.map(partial(_read, tools), group))
    seen = iter(look([data for data in read if isinstance(data, bytes)], wanted, bulk_tools))
    return [
        Looked(item, next(seen), default_image_id(data)) if isinstance(data, bytes)
        else Looked(item, data)
        for item, data in zip(group, read, strict=True)
    ]


def _read(tools: Toolbox, item: BatchItem) -> bytes | FaceError:
    try:
        return tools.media.get(item.media_key)
    except (MediaNotFound, MediaCorrupt) as error:
        return error


# Enrolling ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Find:
    """A picture whose faces are to be enrolled; their objects are stored already."""

    number: int
    image: NewImage
    model: VectorModel
    faces: tuple[NewFace, ...] = field(repr=False)

    @property
    def face_keys(self) -> list[str]:
        return [face.face_key for face in self.faces]


def _keep_faces(
    job: Job, looked: Sequence[Looked], model: VectorModel, tools: Toolbox
) -> list[_Find]:
    """What was found in the pictures that were fit, its face pictures stored together."""
    finds = []
    objects: dict[str, bytes] = {}
    met: Counter[str] = Counter()
    for each in looked:
        if isinstance(each.answer, FaceError):
            continue
        faces = tuple(_faces(job, each.item, each.answer, tools, met))
        objects |= zip((face.face_key for face in faces), each.answer.cutouts, strict=True)
        finds.append(_Find(each.item.number, _image(each, each.answer), model, faces))
    tools.media.put_many(list(objects.items()))
    return finds


def _image(looked: Looked, seen: Seen) -> NewImage:
    item = looked.item
    return NewImage(
        image_id=looked.image_id, sha256=item.sha256, media_key=item.media_key,
        size=item.size, width=seen.width, height=seen.height, format=seen.format,
        description=item.about.description,
    )


def _faces(
    job: Job, item: BatchItem, seen: Seen, tools: Toolbox, met: Counter[str]
) -> Iterator[NewFace]:
    """``met`` counts the names of the chunk's objects: each is stored as often as it is
    met, and all beside each other, which spares a directory for each."""
    # The fence makes the objects those of one try: another one cannot discard them.
    owner = f"{job.id}.{job.fence}"
    each = zip(seen.faces, seen.cutouts, seen.qualities, seen.embeddings, strict=True)
    for face, jpeg, quality, embedding in each:
        name = tools.media.name(job.tenant_id, jpeg)
        met[name] += 1
        key = keys.face_media(job.tenant_id, owner, met[name], name)
        yield new_face(face, quality, embedding, key=key, name=item.about.name)


def _enrol(
    connection: Connection, tenant_id: int, finds: Sequence[_Find],
    waiting: Mapping[int, tuple[str, ...]], tools: Toolbox, now: float,
) -> tuple[list[Outcome], list[str]]:
    """(what became of the pictures that still wait, objects that nobody has taken)."""
    due = [find for find in finds if find.number in waiting]
    unused = [key for find in finds if find.number not in waiting for key in find.face_keys]
    pictures = [
        Enrolment(find.image, find.faces, find.model, waiting[find.number]) for find in due
    ]
    key = tools.keys.of(tenant_id)
    outcomes = []
    first: dict[int, int] = {}  # pictures, and the items that have brought them
    for find, answer in zip(
        due, enter(connection, tenant_id, pictures, now, key), strict=True
    ):
        if isinstance(answer, FaceError):
            unused += find.face_keys
            outcomes.append(_rejected(find.number, answer))
            continue
        outcomes.append(_outcome(find.number, answer, first.get(answer.image_ref)))
        first.setdefault(answer.image_ref, find.number)
    return outcomes, unused


def _outcome(number: int, entered: Entered, original: int | None) -> Outcome:
    new = entered.added > 0
    return Outcome(
        number, ItemState.ENROLLED if new else ItemState.DUPLICATE,
        reason="" if new else SAME_PICTURE, original=None if new else original,
        image_ref=entered.image_ref, face_id=entered.faces[0], faces=len(entered.faces),
    )


def _refusals(
    looked: Sequence[Looked], waiting: Mapping[int, tuple[str, ...]], judged: str
) -> list[Outcome]:
    """What became of the pictures in which nothing is to be enrolled."""
    return [
        _rejected(each.item.number, each.answer, judged)
        for each in looked
        if isinstance(each.answer, FaceError) and each.item.number in waiting
    ]


def _rejected(number: int, error: FaceError, judged: str = "") -> Outcome:
    # What the picture is refused for it will be refused for again.
    under = judged if isinstance(error, BadInput) else ""
    return Outcome(
        number, ItemState.REJECTED, reason=error.code, detail=error.message,
        judged=under or None,
    )
