"""Batches: many pictures of a bucket, enrolled in the background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from faceline_client.envelopes import Json

ENDED = frozenset({"done", "cancelled", "failed"})


@dataclass(frozen=True, slots=True)
class BatchSource:
    """A picture to enrol: its ``key`` below the application's folder of the bucket, and what is
    known about the person."""

    key: str
    name: str = ""
    collection: str = ""
    external_id: str = ""
    description: str = ""

    def to_json(self) -> Json:
        named = {
            "name": self.name, "collection": self.collection, "external_id": self.external_id,
            "description": self.description,
        }
        return {"key": self.key, **{name: value for name, value in named.items() if value}}


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """Why a batch failed, or what it waits for; ``retry_at`` in Unix seconds, if known."""

    code: str
    message: str
    retry_at: float | None

    @classmethod
    def of(cls, data: Json | None) -> Self | None:
        return None if data is None else cls(data["code"], data["message"], data.get("retry_at"))


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many items ended with a ``status`` for a ``reason``."""

    status: str
    reason: str
    items: int

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["status"], data["reason"], data["items"])


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: ``status`` is ``reading``, ``working``, ``done``, ``cancelled`` or ``failed``.

    ``items`` are those read so far, of ``total`` once that is known; the other counts say what
    became of them. ``position`` is how much of the source is read, 0 to 1. ``findings`` is the
    search for duplicate people, None until the batch is done. Times are Unix seconds.
    ``reasons``, the most frequent first, comes with ``get_batch`` once the batch has ended.
    """

    id: str
    status: str
    prefix: str | None
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
    error: BatchProblem | None
    waits_for: BatchProblem | None
    created_at: float
    updated_at: float
    finished_at: float | None
    reasons: tuple[ReasonCount, ...] = ()
    findings: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def progress(self) -> float | None:
        """The share of items that have an outcome, 0 to 1; None while the number of items is not
        known."""
        if self.ended:
            return 1.0
        if not self.total:
            return None
        return min((self.items - self.waiting) / self.total, 1.0)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            data["batch_id"], error=BatchProblem.of(data["error"]),
            waits_for=BatchProblem.of(data.get("waits_for")), findings=data["findings"],
            reasons=tuple(map(ReasonCount.of, data.get("reasons", ()))),
            **{name: data[name] for name in _PLAIN},
        )


_PLAIN = (
    "status", "prefix", "items", "waiting", "enrolled", "duplicate", "rejected", "cancelled",
    "skipped", "exhausted", "total", "position", "created_at", "updated_at", "finished_at",
)


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some of an application's ``total`` batches, newest first."""

    total: int
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["total"], tuple(map(Batch.of, data["batches"])))


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A picture of a batch: ``status`` is ``waiting``, ``again``, ``enrolled``, ``duplicate``,
    ``rejected`` or ``cancelled``, with a ``reason`` and a ``detail`` in words where there is one.
    ``original`` is the number of the item with the same bytes; ``size`` is in bytes, ``width`` and
    ``height`` in pixels; ``faces`` is a count, ``face_id`` the first of them. ``deleted``: the
    person is gone since, and so is all but the outcome."""

    number: int
    source_name: str
    status: str
    reason: str | None
    detail: str | None
    original: int | None
    name: str
    collection: str
    external_id: str
    description: str
    size: int
    width: int
    height: int
    face_id: int | None
    faces: int
    deleted: bool

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items by number; ``next`` is the ``after`` of the next page, None on the last."""

    items: tuple[BatchItem, ...]
    next: int | None

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(map(BatchItem.of, data["items"])), data["next"])
