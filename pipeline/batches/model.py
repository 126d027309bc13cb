"""Batches and their items: a source of pictures that is enrolled as a whole.

    reading -> working -> done        an item:  again -> waiting -> enrolled
       ^  \\_______|_______/  |                     ^        |  \\----> duplicate
       |   cancelled, failed |                     |        |------> rejected
       +-------- retry ------+                     +-retry--+------> cancelled

``reading``: the source is being read, or is to be; ``working``: the source was read to its
end and items wait; ``done``: every item has its outcome; ``failed``: the source could not be
read for so long that it is not tried again. Running the same command again reads the source
of a batch that is done once more, for new items.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pipeline.encryption.hashing import digest
from pipeline.operations import Params
from pipeline.sources.base import About
from pipeline.sources.names import Layout
from pipeline.types import JsonObject

SAME_PICTURE = "same_picture"
"""The reason of a duplicate: its bytes are enrolled, or an earlier item has them."""

NOT_IN_SOURCE = "gone"
"""The reason of an item that was to be read again and is no longer in the source."""


class BatchState(StrEnum):
    READING = "reading"
    WORKING = "working"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


STOPPED = (BatchState.CANCELLED, BatchState.FAILED)
"""States of batches that ended early; only ``retry`` continues them."""


class ItemState(StrEnum):
    AGAIN = "again"
    """Marked for retry: to be read once more. Counted among the waiting items."""
    WAITING = "waiting"
    ENROLLED = "enrolled"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


OUTCOMES = (ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED, ItemState.CANCELLED)


class BatchOptions(Params, frozen=True, kw_only=True):
    """How a source is read and what is enrolled.

    ``collection``: the key of the collection of items for which the source names none;
    empty: the default collection. ``faces`` of each picture: the ``largest``, the only ``one``
    (with several the item is rejected), ``all``. ``gate``: each face must pass the quality limits.
    ``reject_duplicates``: an item whose person is enrolled under another name is rejected.
    ``layout``, ``anywhere``, ``encoding``, ``bucket``, ``take_litter``: as in ``sources.open``.
    ``unattended``: the service reads the source itself.
    """

    collection: str = ""
    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False
    reject_duplicates: bool = False
    layout: Layout = "auto"
    anywhere: bool = False
    encoding: str | None = None
    bucket: str = ""
    unattended: bool = False
    take_litter: bool = False


_UNLESS_SET = ("take_litter",)
"""Options whose usual value is not part of the fingerprint: they are younger than batches
that the same command must find."""


def fingerprint_of(tenant_id: int, source: str, options: BatchOptions) -> str:
    """The fingerprint (64 hex digits) by which the same command finds its batch. ``source``
    is the location in a form that does not depend on the current directory."""
    values = options.to_json()
    values = {name: values[name] for name in values if values[name] or name not in _UNLESS_SET}
    return digest(str(tenant_id), source, *(f"{name}={values[name]}" for name in sorted(values)))


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch's row. Times are epoch seconds (UTC). ``waiting`` to ``cancelled`` count the
    items of each state and add up to ``items``; ``skipped`` counts the source's litter, which
    is not among them, and is known once the source was read to its end. ``position`` is the
    share of the source that was read, 0 to 1; ``total`` is how many items the source says it
    has. ``findings`` is the progress of the search (``duplicate_search``), ``source_error``
    why the source could not be read the last time (``source_errors``)."""

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
    skipped: int
    exhausted: bool
    total: int | None
    position: float | None
    findings: JsonObject | None
    source_error: JsonObject | None
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
    """Part of a list of batches, and the number of all."""

    total: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item's row. The fields that the source gave are empty once the person was erased
    (``erased_at``). ``original``: the number of the item with the same bytes, 0: none.
    ``image_ref``: ``images.id``; ``face_id``: the first of its ``faces`` faces."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRecord:
    """What is known of an item's picture: the item ``original`` of the batch that has the same
    bytes, the enrolled image ``image_ref`` with the first, ``face_id``, of its ``faces`` faces,
    or why it was rejected: the ``reason`` (a code of ``errors``) and ``detail``."""

    original: int | None = None
    image_ref: int | None = None
    face_id: int | None = None
    faces: int = 0
    reason: str = ""
    detail: str = ""

    def columns(self) -> dict[str, Any]:
        """The record as columns of the item's row."""
        return {
            "original": self.original, "image_ref": self.image_ref, "face_id": self.face_id,
            "faces": self.faces, "reason": self.reason or None, "detail": self.detail or None,
        }


@dataclass(frozen=True, slots=True)
class NewItem(PictureRecord):
    """An item that a submitter has read and checked.

    ``number``: the batch's next, or that of an item that is retried. ``unique_name``: the name by
    which it is found again; empty: its ``source_name``. ``state``: ``waiting`` with its picture
    stored under ``media_key``; ``duplicate`` of the item ``original`` or of the enrolled image
    ``image_ref`` (either may be None); ``rejected`` for ``reason``. ``sha256`` is what
    ``storage_keys.media_hash`` returns for the picture's key (for encrypted tenants not a hash of
    its bytes), empty when it was not read. ``criteria``: as in ``ItemOutcome``.
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
    criteria: str | None = None
    unique_name: str = ""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item that was found by its name."""

    number: int
    state: ItemState


@dataclass(frozen=True, slots=True)
class ItemOutcome(PictureRecord):
    """The outcome of a waiting item.

    ``state``: ``enrolled`` with ``image_ref``, ``face_id`` (of the first face) and ``faces``,
    and a ``detail`` when faces were left out;
    ``duplicate`` with the same of the enrolled image; ``rejected`` with ``reason`` (a code of
    ``errors``) and ``detail``. ``criteria``: the fingerprint of the pack and the settings
    that rejected the picture and would reject it again (None after a crash).
    """

    number: int
    state: ItemState
    criteria: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """An item that the effect of a chunk has locked. ``collections``: the keys of all
    collections to which its faces are bound, those of its duplicates included.
    ``duplicates``: the numbers of those duplicates that know no enrolled image yet."""

    item: BatchItem
    collections: tuple[str, ...]
    duplicates: tuple[int, ...] = ()
