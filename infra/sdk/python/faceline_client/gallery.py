"""Records of a gallery: faces, pictures, collections, challenges."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

from faceline_client.envelopes import Json
from faceline_client.results import Box


@dataclass(frozen=True, slots=True)
class ListedFace:
    """A face in a list, or a picture whose face was deleted: ``face_token`` is empty then.
    ``face_id`` is None in the list of a collection."""

    face_id: int | None
    face_token: str
    image_id: str
    name: str
    description: str
    gender: str

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            data.get("id"), data["faceToken"], data["imageId"], data["name"],
            data["description"], data["gender"],
        )


@dataclass(frozen=True, slots=True)
class FacePage:
    """Some of ``total`` faces, newest last."""

    total: int
    faces: tuple[ListedFace, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["totalFaces"], tuple(map(ListedFace.of, data["face"])))


@dataclass(frozen=True, slots=True)
class ShownFace:
    """A face of the gallery: its place in its picture, the keys of its collections, and a
    ``cutout``, a JPEG of the face."""

    image_id: str
    name: str
    description: str
    gender: str
    box: Box
    collections: tuple[str, ...]
    cutout: bytes = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            data["imageId"], data["name"], data["description"], data["gender"],
            Box.of(data["rect"]), tuple(each["groupId"] for each in data["faceGroupList"]),
            base64.b64decode(data["image"]),
        )


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture as it was enrolled (``content``: the file's bytes), and its faces."""

    face_tokens: tuple[str, ...]
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(data["faceToken"]), base64.b64decode(data["image"]))


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of faces. A hit in it has a score above ``score`` (0 to 100)."""

    key: str
    name: str
    type: str
    score: int
    faces: int

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            data["groupId"], data["groupName"], data["groupType"], data["groupScore"],
            data["groupFaces"],
        )


class CollectionDeletion(IntEnum):
    """What goes with a collection."""

    COLLECTION_ONLY = 1
    """Its faces stay."""
    WITH_ALL_FACES = 2
    """Its faces are deleted, also from other collections; their pictures stay."""
    CONTENT_ONLY = 3
    """The collection stays, empty; faces in no other are deleted, their pictures stay."""
    WITH_EXCLUSIVE_FACES = 4
    """Faces in no other collection are deleted with their pictures."""


@dataclass(frozen=True, slots=True)
class BindingReport:
    """How many of the named collections a face was put into or taken out of, and those that do not
    exist."""

    changed: int
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["successCnt"], tuple(each["groupId"] for each in data["failInfo"]))


@dataclass(frozen=True, slots=True)
class Challenge:
    """Actions that the next clip of a face must show, in their ``order``: ``blink``, ``mouth``,
    ``turn_left``, ``turn_right``, ``nod`` (left and right are the person's own). The clip must
    arrive within ``seconds``."""

    id: str
    order: tuple[str, ...]
    seconds: float

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["Challenge"], tuple(data["Order"]), data["Seconds"])


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a clip was taken for live or not: ``reasons`` in words such as ``no_action``,
    ``replay``, ``too_dark``, empty for a live one; ``measured`` has everything, with the
    ``timeline`` of frames and the ``happenings``, as docs/api.md of the service describes it."""

    reasons: tuple[str, ...]
    measured: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(data["reasons"]), data)


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the service: ``ok``, ``degraded`` (jobs are accepted but wait),
    ``unavailable`` or ``stopping``. ``waiting`` counts queued jobs by stage; ``parts`` are the
    states of database, media store, broker and master key."""

    status: str
    parts: Mapping[str, str]
    waiting: Mapping[str, int]

    @classmethod
    def of(cls, data: Json) -> Self:
        parts = {name: value for name, value in data.items() if isinstance(value, str)}
        return cls(parts.pop("status"), parts, data.get("waiting", {}))
