"""The galleries of applications: their faces, seen, changed, moved and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Download, Nothing
from pipeline.calibration.table import fmr_at
from pipeline.errors import FaceNotFound, ImageNotFound, InvalidParameter, MediaNotFound
from pipeline.gallery.browse import MOST_COUNTED, GalleryPart
from pipeline.gallery.records import Collection, FaceRecord
from pipeline.identifiers import MAX_COLLECTION_KEY_BYTES, is_printable
from pipeline.jobs.model import Job
from pipeline.media.picture_formats import picture_format
from pipeline.operators.model import OperatorRole
from pipeline.types import JsonObject

Application = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
FaceId = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
CollectionKey = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_COLLECTION_KEY_BYTES)]
FaceIds = Annotated[list[FaceId], msgspec.Meta(min_length=1, max_length=500)]

# Faces of the same name, and jobs, that a face's page shows.
MOST_NAMESAKES = 24
MOST_EVENTS = 30


class GalleryNames(msgspec.Struct, frozen=True):
    """The applications, each of which has one gallery, by name."""

    applications: list[str]


class FacesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which faces to list: the newest ones of the gallery or of a ``collection``; with ``name``
    those whose name begins so, or which have this as an id. ``after`` is the ``next`` of the
    list before."""

    application: Application
    collection: Annotated[str, msgspec.Meta(max_length=MAX_COLLECTION_KEY_BYTES)] = ""
    name: Annotated[str, msgspec.Meta(max_length=255)] = ""
    after: Annotated[str, msgspec.Meta(max_length=300)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 48


class FaceSummary(msgspec.Struct, frozen=True):
    """A face of a list. ``quality`` is 0 to 1, ``created_at`` in epoch seconds; ``collections``
    are keys."""

    id: int
    name: str
    person_id: str
    image_id: str
    quality: float | None
    created_at: float
    collections: list[str]


class FaceList(msgspec.Struct, frozen=True):
    """Faces of a gallery. ``count`` is the number of all faces that the list is a part of,
    counted up to 10,000 (``counted`` is false above); None when a name was asked for."""

    faces: list[FaceSummary]
    next: str | None
    count: int | None
    counted: bool


class FaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One face of an application."""

    application: Application
    face_id: FaceId


class FaceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A job that named the face. ``rank`` is the place among a search's hits, from 1 on;
    ``confidence`` (0 to 1) that of its score, and ``false_match_rate`` what it stands for: the
    share of other people who score as high, 0 for the same picture, None above one in ten."""

    job_id: str
    operation: str
    state: str
    finished_at: float | None
    rank: int | None = None
    confidence: float | None = None
    false_match_rate: float | None = None


class FaceCollection(msgspec.Struct, frozen=True):
    """A collection that a face is in."""

    key: str
    name: str


class FaceDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that the database knows of a face. ``box`` (left, top, right, bottom) is in pixels of
    the upright picture of ``width`` and ``height``; ``on_picture`` are the other faces on it,
    ``of_name`` others of the same name; ``history`` are the newest jobs about the face."""

    id: int
    name: str
    gender: str
    description: str
    person_id: str
    face_token: str
    image_id: str
    created_at: float
    detection: float
    quality: dict[str, float]
    box: list[float]
    width: int
    height: int
    format: str
    size: int
    collections: list[FaceCollection]
    on_picture: list[FaceSummary]
    of_name: list[FaceSummary]
    history: list[FaceEvent]


class FaceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a face; ``description`` is that of its picture."""

    application: Application
    face_id: FaceId
    name: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    gender: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    description: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class FaceMove(msgspec.Struct, frozen=True, kw_only=True):
    """Put ``faces`` into collections and take them out of others (keys)."""

    application: Application
    faces: FaceIds
    into: Annotated[list[CollectionKey], msgspec.Meta(max_length=64)] = []
    out_of: Annotated[list[CollectionKey], msgspec.Meta(max_length=64)] = []


class MovedFaces(msgspec.Struct, frozen=True):
    """How many faces changed their collections."""

    faces: int


class FaceRemoval(msgspec.Struct, frozen=True, kw_only=True):
    """Delete ``faces``. Their pictures go with them, unless another face is on them, or with
    ``keep_pictures`` stay without a face."""

    application: Application
    faces: FaceIds
    keep_pictures: bool = False


class RemovedFaces(msgspec.Struct, frozen=True):
    """How many faces were deleted, and the id of the receipt that proves it."""

    faces: int
    receipt: str


def list_galleries(
    services: AdminServices, _actor: Actor, _given: Nothing
) -> GalleryNames:
    return GalleryNames(sorted(each.name for each in services.service.tenants.all()))


def list_faces(services: AdminServices, _actor: Actor, given: FacesQuery) -> FaceList:
    tenant = services.tenant(given.application)
    records = services.service.records
    collection = None
    if given.collection:
        collection = records.collections.get(tenant.id, checked(given.collection))
    key = None if collection is None else collection.key
    if given.name:
        part = records.browser.named(
            tenant.id, checked(given.name), collection=key, after=given.after, limit=given.limit
        )
        faces = _summaries(part)
        if not given.after and collection is None:
            known = {each.id for each in faces}
            exact = _summaries(records.browser.identified(tenant.id, given.name))
            faces = [*(each for each in exact if each.id not in known), *faces]
        return FaceList(faces, part.next, None, counted=False)
    part = records.browser.newest(
        tenant.id, collection=key, after=given.after, limit=given.limit
    )
    count = records.browser.count(tenant.id, None if collection is None else collection.id)
    return FaceList(
        _summaries(part), part.next, min(count, MOST_COUNTED), counted=count <= MOST_COUNTED
    )


def checked(text: str) -> str:
    """A text that databases store and pages show. Raises ``InvalidParameter``."""
    if not is_printable(text):
        raise InvalidParameter("a text has control characters")
    return text


def _summaries(part: GalleryPart) -> list[FaceSummary]:
    return [summary(each, part.collections.get(each.id, ())) for each in part.faces]


def summary(face: FaceRecord, collections: Sequence[Collection] = ()) -> FaceSummary:
    """A face as lists show it."""
    return FaceSummary(
        face.id, face.name, face.person_id, face.image_id, face.quality.get("score"),
        face.created_at, [each.key for each in collections],
    )


def show_face(services: AdminServices, _actor: Actor, given: FaceQuery) -> FaceDetails:
    tenant = services.tenant(given.application)
    records = services.service.records
    face = records.faces.by_id(tenant.id, given.face_id)
    image = records.images.find(tenant.id, face.image_id)
    if image is None:
        raise FaceNotFound  # deleted a moment ago
    namesakes = records.browser.of_name(tenant.id, face.name, MOST_NAMESAKES) if face.name else []
    return FaceDetails(
        id=face.id, name=face.name, gender=face.gender, description=face.description,
        person_id=face.person_id, face_token=face.face_token, image_id=face.image_id,
        created_at=face.created_at, detection=face.score, quality=face.quality,
        box=[face.box.left, face.box.top, face.box.right, face.box.bottom],
        width=image.width, height=image.height, format=image.format, size=image.size,
        collections=[
            FaceCollection(each.key, each.name)
            for each in records.faces.collections(tenant.id, face.id)
        ],
        on_picture=[
            summary(each) for each in records.browser.on_picture(tenant.id, face.image_id)
            if each.id != face.id
        ],
        of_name=[summary(each) for each in namesakes if each.id != face.id],
        history=[
            _event(job, face.id)
            for job in services.service.jobs.read.about_face(tenant.id, face.id, MOST_EVENTS)
        ],
    )


def _event(job: Job, face_id: int) -> FaceEvent:
    result: JsonObject = job.result or {}
    places = [hit.get("id") for hit in result.get("hits", ())]
    place = places.index(face_id) if face_id in places else None
    scored: dict[str, Any] = result if place is None else result["hits"][place]
    confidence = scored.get("confidence")
    return FaceEvent(
        job_id=job.id, operation=job.operation, state=job.state.value,
        finished_at=job.finished_at, rank=None if place is None else place + 1,
        confidence=confidence,
        false_match_rate=None if confidence is None else fmr_at(confidence),
    )


def show_cutout(services: AdminServices, _actor: Actor, given: FaceQuery) -> Download:
    tenant = services.tenant(given.application)
    face = services.service.records.faces.by_id(tenant.id, given.face_id)
    try:
        return Download(services.service.media.get(face.face_key), "image/jpeg")
    except MediaNotFound as error:
        raise FaceNotFound from error


def show_original(services: AdminServices, _actor: Actor, given: FaceQuery) -> Download:
    tenant = services.tenant(given.application)
    records = services.service.records
    face = records.faces.by_id(tenant.id, given.face_id)
    image = records.images.get(tenant.id, face.image_id)
    try:
        data = services.service.media.get(image.media_key)
    except MediaNotFound as error:
        raise ImageNotFound from error
    kind = picture_format(data)
    return Download(data, f"image/{kind}" if kind else "application/octet-stream")


def change_face(services: AdminServices, _actor: Actor, given: FaceChange) -> FaceSummary:
    tenant = services.tenant(given.application)
    for text in (given.name, given.gender, given.description):
        checked(text or "")
    face = services.service.records.faces.describe(
        tenant.id, given.face_id, name=given.name, gender=given.gender,
        description=given.description,
    )
    return summary(face, services.service.records.faces.collections(tenant.id, face.id))


def move_faces(services: AdminServices, _actor: Actor, given: FaceMove) -> MovedFaces:
    tenant = services.tenant(given.application)
    for key in (*given.into, *given.out_of):
        checked(key)
    moved = services.service.records.collections.move(
        tenant.id, given.faces, into=given.into, out_of=given.out_of
    )
    return MovedFaces(moved)


def delete_faces(services: AdminServices, _actor: Actor, given: FaceRemoval) -> RemovedFaces:
    tenant = services.tenant(given.application)
    gone = services.service.records.faces.delete_many(
        tenant.id, given.faces, keep_images=given.keep_pictures
    )
    return RemovedFaces(gone.faces, gone.receipt_id)


def _face_of(given: FaceQuery | FaceChange) -> str:
    return f"face {given.face_id}"


def _faces_of(given: FaceMove | FaceRemoval) -> str:
    return "faces " + ", ".join(map(str, given.faces))


LIST_GALLERIES = AdminOperation(
    "gallery.list", "GET", "/gallery", "The applications, whose galleries can be looked into.",
    OperatorRole.VIEWER, Nothing, GalleryNames, list_galleries,
)
LIST_FACES = AdminOperation(
    "gallery.faces", "GET", "/gallery/faces", "The faces of an application, in parts.",
    OperatorRole.VIEWER, FacesQuery, FaceList, list_faces,
)
SHOW_FACE = AdminOperation(
    "gallery.face", "GET", "/gallery/faces/{face_id}", "All that is known of a face.",
    OperatorRole.VIEWER, FaceQuery, FaceDetails, show_face, subject_of=_face_of,
)
SHOW_CUTOUT = AdminOperation(
    "gallery.cutout", "GET", "/gallery/faces/{face_id}/cutout",
    "The face cut out of its picture, a JPEG.", OperatorRole.VIEWER, FaceQuery, Download,
    show_cutout, shows_faces=True, subject_of=_face_of,
)
SHOW_ORIGINAL = AdminOperation(
    "gallery.original", "GET", "/gallery/faces/{face_id}/original",
    "The picture that a face is on, as it was sent.", OperatorRole.VIEWER, FaceQuery, Download,
    show_original, shows_faces=True, subject_of=_face_of,
)
CHANGE_FACE = AdminOperation(
    "gallery.edit", "PATCH", "/gallery/faces/{face_id}",
    "Change the name of a face, its gender, or the description of its picture.",
    OperatorRole.OPERATOR, FaceChange, FaceSummary, change_face, subject_of=_face_of,
)
MOVE_FACES = AdminOperation(
    "gallery.move", "POST", "/gallery/move", "Put faces into collections, or take them out.",
    OperatorRole.OPERATOR, FaceMove, MovedFaces, move_faces, subject_of=_faces_of,
)
DELETE_FACES = AdminOperation(
    "gallery.delete", "POST", "/gallery/delete", "Delete faces, and make a receipt of it.",
    OperatorRole.OPERATOR, FaceRemoval, RemovedFaces, delete_faces, subject_of=_faces_of,
)

OPERATIONS = (
    LIST_GALLERIES, LIST_FACES, SHOW_FACE, SHOW_CUTOUT, SHOW_ORIGINAL, CHANGE_FACE, MOVE_FACES,
    DELETE_FACES,
)
