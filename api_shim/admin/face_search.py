"""Finding a face in a gallery by a photo."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from api_shim.admin.gallery import Application, CollectionKey, checked
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.admin.operator_jobs import start_job
from api_shim.body import BodyKind
from api_shim.requests import JobRequest
from pipeline.calibration.table import fmr_at
from pipeline.errors import JobNotFound
from pipeline.jobs.model import Job
from pipeline.operations import MAX_HITS, SEARCH, SearchParams
from pipeline.operators.model import OperatorRole


class FaceToFind(msgspec.Struct, frozen=True, kw_only=True):
    """A photo (``image``, Base64) whose largest face is looked for, in the whole gallery or in
    ``collections`` (keys); ``hits``: how many are wanted."""

    application: Application
    image: bytes
    collections: Annotated[list[CollectionKey], msgspec.Meta(max_length=64)] = []
    hits: Annotated[int, msgspec.Meta(ge=1, le=MAX_HITS)] = 20


class SearchedFaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search by the id of its job."""

    application: Application
    job_id: Annotated[str, msgspec.Meta(max_length=32)]


class GalleryHit(msgspec.Struct, frozen=True, kw_only=True):
    """A hit. ``confidence`` (0 to 1) stands for ``false_match_rate``: the share of other people
    who score as high; 0 for the same picture, None above one in ten. ``collections`` are the
    keys of those whose score it exceeds, ``below`` of the others."""

    id: int
    name: str
    confidence: float
    false_match_rate: float | None
    collections: list[str]
    below: list[str]


class GallerySearch(msgspec.Struct, frozen=True, kw_only=True):
    """A search. ``state`` is that of its job; ``code``, ``reason`` and ``message`` say why it
    failed; ``people`` is how many faces the photo has, ``quality`` (0 to 1) that of the one
    looked for; ``hits`` are the best first."""

    job_id: str
    state: str
    ended: bool
    code: str = ""
    reason: str = ""
    message: str = ""
    people: int = 0
    quality: float | None = None
    hits: list[GalleryHit] = []


def search_face(services: AdminServices, actor: Actor, given: FaceToFind) -> GallerySearch:
    tenant = services.tenant(given.application)
    services.service.records.collections.resolve(tenant.id, list(map(checked, given.collections)))
    params = SearchParams(collections=tuple(given.collections) or None, k=given.hits)
    request = JobRequest(tenant, SEARCH.operation, params.to_json(), (given.image,))
    return _answer(start_job(services, actor, request))


def show_search(
    services: AdminServices, _actor: Actor, given: SearchedFaceQuery
) -> GallerySearch:
    job = services.service.jobs.read.get(services.tenant(given.application).id, given.job_id)
    if job.operation != SEARCH.operation:
        raise JobNotFound
    return _answer(job)


def _answer(job: Job) -> GallerySearch:
    result, error = job.result or {}, job.error or {}
    found = [face for picture in result.get("pictures", ()) for face in picture["faces"]]
    return GallerySearch(
        job_id=job.id, state=job.state.value, ended=job.ended, code=job.error_code or "",
        reason=error.get("reason") or "", message=error.get("message") or "",
        people=len(found), quality=found[0].get("quality", {}).get("score") if found else None,
        hits=[_hit(each) for each in result.get("hits", ())],
    )


def _hit(hit: dict[str, Any]) -> GalleryHit:
    confidence = hit["confidence"]
    passed = {each["key"]: 100 * confidence > each["score"] for each in hit["collections"]}
    return GalleryHit(
        id=hit["id"], name=hit["name"], confidence=confidence,
        false_match_rate=fmr_at(confidence),
        collections=[key for key, good in passed.items() if good],
        below=[key for key, good in passed.items() if not good],
    )


SEARCH_FACE = AdminOperation(
    "gallery.search", "POST", "/gallery/search",
    "Look for the largest face of a photo in a gallery: starts a job.", OperatorRole.VIEWER,
    FaceToFind, GallerySearch, search_face, shows_faces=True, carries=BodyKind.PICTURES,
)
SHOW_SEARCH = AdminOperation(
    "gallery.found", "GET", "/gallery/search/{job_id}", "What a search has found so far.",
    OperatorRole.VIEWER, SearchedFaceQuery, GallerySearch, show_search,
)

OPERATIONS = (SEARCH_FACE, SHOW_SEARCH)
