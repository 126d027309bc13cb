"""The collections of an application's gallery."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from api_shim.admin.gallery import Application, CollectionKey, checked
from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.records import DEFAULT_SCORE, Collection
from pipeline.operators.model import OperatorRole

CollectionText = Annotated[str, msgspec.Meta(max_length=128)]
CollectionScore = Annotated[float, msgspec.Meta(ge=0, le=100)]


class CollectionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose collections to list; ``counted``: with the number of their faces, which takes long
    for millions."""

    application: Application
    counted: bool = True


class CollectionSummary(msgspec.Struct, frozen=True):
    """A collection. ``score`` (0 to 100) is what a hit in it must exceed; ``faces`` is how many
    it has, None when they were not counted."""

    key: str
    name: str
    type: str
    score: float
    faces: int | None


class CollectionList(msgspec.Struct, frozen=True):
    """Collections, oldest first. The one with the key ``default`` cannot be deleted."""

    collections: list[CollectionSummary]


class CollectionCreation(msgspec.Struct, frozen=True, kw_only=True):
    """A new collection. Its ``key`` is unique and stays."""

    application: Application
    key: CollectionKey
    name: CollectionText = ""
    type: CollectionText = ""
    score: CollectionScore = DEFAULT_SCORE


class CollectionChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of the collection with the key ``collection``."""

    application: Application
    collection: CollectionKey
    name: CollectionText | None = None
    type: CollectionText | None = None
    score: CollectionScore | None = None


class CollectionRemoval(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a collection: ``only`` it; ``with_faces`` also the faces that are in no other, and
    their pictures; ``empty``: it stays, and those faces go."""

    application: Application
    collection: CollectionKey
    how: Literal["only", "with_faces", "empty"] = "only"


_DELETIONS = {
    "only": CollectionDeletion.COLLECTION_ONLY,
    "with_faces": CollectionDeletion.WITH_EXCLUSIVE_FACES,
    "empty": CollectionDeletion.CONTENT_ONLY,
}


def list_collections(
    services: AdminServices, _actor: Actor, given: CollectionsQuery
) -> CollectionList:
    tenant, store = services.tenant(given.application), services.service.records.collections
    found: Iterable[tuple[Collection, int | None]] = (
        store.all(tenant.id) if given.counted
        else ((each, None) for each in store.uncounted(tenant.id))
    )
    return CollectionList([
        CollectionSummary(each.key, each.name, each.type, each.score, faces)
        for each, faces in found
    ])


def create_collection(
    services: AdminServices, _actor: Actor, given: CollectionCreation
) -> CollectionSummary:
    tenant = services.tenant(given.application)
    made = services.service.records.collections.create(
        tenant.id, checked(given.key), checked(given.name), checked(given.type), given.score
    )
    return CollectionSummary(made.key, made.name, made.type, made.score, 0)


def change_collection(
    services: AdminServices, _actor: Actor, given: CollectionChange
) -> CollectionSummary:
    tenant = services.tenant(given.application)
    records = services.service.records
    for text in (given.name, given.type):
        checked(text or "")
    changed = records.collections.update(
        tenant.id, checked(given.collection), name=given.name, type=given.type, score=given.score
    )
    faces = records.browser.count(tenant.id, changed.id)
    return CollectionSummary(changed.key, changed.name, changed.type, changed.score, faces)


def delete_collection(
    services: AdminServices, _actor: Actor, given: CollectionRemoval
) -> Nothing:
    tenant = services.tenant(given.application)
    services.service.records.collections.delete(
        tenant.id, checked(given.collection), _DELETIONS[given.how]
    )
    return Nothing()


def _key_of(given: CollectionChange | CollectionRemoval) -> str:
    return f"collection {given.collection}"


LIST_COLLECTIONS = AdminOperation(
    "collections.list", "GET", "/collections", "The collections of an application.",
    OperatorRole.VIEWER, CollectionsQuery, CollectionList, list_collections,
)
CREATE_COLLECTION = AdminOperation(
    "collections.create", "POST", "/collections", "Make a collection.", OperatorRole.OPERATOR,
    CollectionCreation, CollectionSummary, create_collection,
    subject_of=lambda given: f"collection {given.key}",
)
CHANGE_COLLECTION = AdminOperation(
    "collections.change", "PATCH", "/collections/{collection}",
    "Change a collection's name, type or score.", OperatorRole.OPERATOR, CollectionChange,
    CollectionSummary, change_collection, subject_of=_key_of,
)
DELETE_COLLECTION = AdminOperation(
    "collections.delete", "DELETE", "/collections/{collection}",
    "Delete a collection, alone or with the faces that are in no other.", OperatorRole.OPERATOR,
    CollectionRemoval, Nothing, delete_collection, subject_of=_key_of,
)

OPERATIONS = (LIST_COLLECTIONS, CREATE_COLLECTION, CHANGE_COLLECTION, DELETE_COLLECTION)
