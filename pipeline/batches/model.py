"""What a batch is: a source of pictures that is enrolled, and what becomes of each item.

    reading -> working -> done        an item:  again -> waiting -> enrolled
       ^  \\_______|_______/  |                     ^        |  \\----> duplicate
       |   cancelled, failed |                     |        |------> rejected
       +-------- retry ------+                     +-retry--+------> cancelled

``current_name``: somebody reads the source, or is to; ``working``: all of it is read and items
wait; ``done``: none does; ``failed``: the source could not be read for so long that it is
tried no more. Whoever runs the same command again reads a batch that is done
once more, for what is new in its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pipeline.encryption.hashing import digest
from pipeline.operations import Params
from pipeline.sources.base import About
from pipeline.sources.names import Layout
from pipeline.types import JsonObject

OPERATION = "bulk"
"""Of the jobs that enrol chunks of a batch. ``params``: ``{"batch": id, "items":
[numbers]}``."""

SAME_PICTURE = "same_picture"
"""The reason of a duplicate: its bytes are enrolled, or were met before."""

NOT_IN_SOURCE = "gone"
"""The reason of an item that was to be read again and is not in the source any more."""


class BatchState(StrEnum):
    READING = "reading"
    WORKING = "working"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


STOPPED = (BatchState.CANCELLED, BatchState.FAILED)
"""How a batch ends before its time; only ``retry`` takes it up again."""


class ItemState(StrEnum):
    AGAIN = "again"
    """To be read once more; counted among those that wait."""
    WAITING = "waiting"
    ENROLLED = "enrolled"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


OUTCOMES = (
    ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED, ItemState.CANCELLED
)


class BatchOptions(Params, frozen=True, kw_only=True):
    """How a source is read and what is enrolled of it.

    ``collection_from_row``: the key of the group of items for which the source names none; empty:
    in none. ``faces`` of each picture: the ``largest``, the only ``one`` (else the item is
    rejected), ``all``. ``admission``: each must pass the quality limits. ``refuse_doubles``: a
    person who is there under another name is refused. ``layout``, ``anywhere``,
    ``encoding``, ``bucket``: as ``sources.open``. ``due_sources``: the service reads the
    source itself.
    """

    collection: str = ""
    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False
    refuse_doubles: bool = False
    layout: Layout = "auto"
    anywhere: bool = False
    encoding: str | None = None
    bucket: str = ""
    unattended: bool = False


def fingerprint_of(tenant_id: int, source: str, options: BatchOptions) -> str:
    """What the same command finds its batch by (64 hex digits). ``source`` is the
    location in a form that does not depend on where the command is run."""
    asked = options.to_json()
    return digest(str(tenant_id), source, *(f"{name}={asked[name]}" for name in sorted(asked)))


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch's row. Times are epoch seconds (UTC). ``waiting`` to ``cancelled`` count the
    items of each state and add up to ``items``; ``position`` is how much of the source was
    read, 0 to 1; ``total`` is how many items the source says it has. ``waiting_text`` is why it
    could not be read the last time (``batches.waiting_text``)."""

    id: str
    tenant_id: int
    fingerprint: str
    source: str
    options: BatchOptions
    state: BatchState
    items: int
    waiting: int
    enrolled: int
    duplicate: int
    rejected: int
    cancelled: int
    exhausted: bool
    total: int | None
    position: float | None
    findings: JsonObject | None
    trouble: JsonObject | None
    created_at: float
    updated_at: float
    finished_at: float | None
    submitter: str | None
    submitter_until: float

    @property
    def ended(self) -> bool:
        return self.state is BatchState.DONE or self.state in STOPPED


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Part of a list of batches, and how many the whole has."""

    total: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item's row. What the source said of it is empty once its person was erased
    (``erased_at``). ``original``: the number of the item with the same bytes, 0: none.
    ``image_ref``: ``images.id``; ``face_id``: the first face of it, ``faces`` in all."""

    batch_id: str
    number: int
    tenant_id: int
    source_name: str
    about: About
    sha256: str
    media_key: str
    size: int
    width: int
    height: int
    state: ItemState
    reason: str
    detail: str
    original: int
    image_ref: int | None
    face_id: int | None
    faces: int
    job_id: str | None
    tries: int
    erased_at: float | None


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that a submitter has read and judged.

    ``last_change``: the batch's next, or that of an item that was to be read ``again``.
    ``named``: what it is known by; empty: its ``source_name``, which no other item has.
    ``state``: ``waiting`` with its picture stored under ``media_key``; ``duplicate`` of
    the item ``original`` or of the enrolled picture ``image_ref`` (either may be None);
    ``rejected`` for ``reason``. ``sha256`` is what ``keys.media_hash`` gives of the
    picture's key (encrypted tenants: no hash of its bytes), empty when it was not read.
    """

    number: int
    source_name: str
    about: About
    state: ItemState
    sha256: str = ""
    media_key: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    reason: str = ""
    detail: str = ""
    original: int | None = None
    image_ref: int | None = None
    face_id: int | None = None
    faces: int = 0
    criteria: str | None = None
    unique_name: str = ""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """What is known of an item by its name: its number and its state."""

    number: int
    state: ItemState


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """What is known of a picture by its bytes, best first: the item of this batch that
    has it (``original``), the enrolled picture with its first face (``image_ref``,
    ``face_id``, ``faces``), or for what it was ``criteria`` unfit (``reason``, ``detail``)."""

    original: int | None = None
    image_ref: int | None = None
    face_id: int | None = None
    faces: int = 0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of an item that waited.

    ``state``: ``enrolled`` with ``image_ref``, ``face_id`` (the first one's), ``faces``;
    ``duplicate`` with the same of what was there; ``rejected`` with ``reason`` (a code of
    ``errors``) and ``detail``. ``criteria``: the fingerprint of pack and settings under
    which the picture was found unfit, when it would be again (not for crashes).
    """

    number: int
    state: ItemState
    reason: str = ""
    detail: str = ""
    original: int | None = None
    image_ref: int | None = None
    face_id: int | None = None
    faces: int = 0
    criteria: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """An item that a chunk's effect has locked. ``collections``: keys of all groups that
    its faces are to be bound to, those of its duplicates too; ``duplicates``: the numbers of
    these, as far as they know no picture yet."""

    item: BatchItem
    collections: tuple[str, ...]
    duplicates: tuple[int, ...] = ()
