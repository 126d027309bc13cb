"""Every call that the service takes. ``Client`` and ``AsyncClient`` have a method for each:

    client.compare("a.jpg", "b.jpg")                        # Comparison
    client.submit(operations.compare("a.jpg", "b.jpg"))     # Job[Comparison]
    client.run(operations.compare("a.jpg", "b.jpg"), timeout=5)

Pictures are bytes or paths. Methods on pictures raise ``BadPicture``, and those that need a face
``NoFace``; every call raises ``ApiError`` and ``ConnectionLost``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import httpx

from faceline_client import gallery, results
from faceline_client.batches import Batch, BatchPage, BatchSource, ItemPage
from faceline_client.credentials import Access
from faceline_client.envelopes import GROUPS, NATIVE, NUMBERED, PEOPLE, Json, read_object
from faceline_client.errors import Conflict
from faceline_client.gallery import CollectionDeletion
from faceline_client.media import Media, StoredImage, Url, read_media, to_base64
from faceline_client.operation import Operation, in_path, job, record

Action = Literal["blink", "mouth"]
_ACTIONS: dict[Action, int] = {"blink": 1, "mouth": 2}


def _none(_: Json) -> None:
    return None


def _given(**texts: str) -> dict[str, str]:
    """Those that are not empty."""
    return {name: text for name, text in texts.items() if text}


# Pictures ---------------------------------------------------------------------------


def detect(picture: Media) -> Operation[results.Detection]:
    """Where every face in a picture is. Takes every format."""
    fields = {"Fimg": to_base64(picture)}
    return job(results.Detection, "detect", "/api/detection", Access.NUMBER, fields)


def compare(
    first: Media, second: Media, *, liveness: bool = False
) -> Operation[results.Comparison]:
    """How alike the largest faces of two pictures are, with pose and sharpness, and with
    ``liveness`` how live each looks. JPEG, PNG, BMP of at most 4 MB, 100 to 4,096 pixels."""
    fields = {
        "image1": to_base64(first), "image2": to_base64(second), "livenessEnabled": liveness,
    }
    return job(results.Comparison, "compare", "/api/face/compare", Access.API_KEY, fields)


def similarities(reference: Media, pictures: Sequence[Media]) -> Operation[results.Similarities]:
    """How like a reference each of up to 49 pictures is; each shows exactly one face
    (``ManyFaces``). Takes every format."""
    images = {f"Fimg{number}": to_base64(each) for number, each in enumerate(pictures, 2)}
    fields = {"Fimg1": to_base64(reference), **images}
    return job(results.Similarities, "similarities", "/api/similarity", Access.NUMBER, fields)


def compare_all(
    first: Media | StoredImage | Url, second: Media | StoredImage | Url, *,
    rotate_first: bool = False, rotate_second: bool = False,
) -> Operation[results.ScoreMatrix]:
    """Every face of one picture with every face of another, up to four each (``ManyFaces``).
    ``rotate_...`` finds the picture's upright turn from its faces. JPEG, PNG, BMP, GIF, TIFF of at
    most 5 MB."""
    fields, files = {}, {}
    for name, source, rotate in (
        ("image_one", first, rotate_first), ("image_two", second, rotate_second)
    ):
        if isinstance(source, StoredImage):
            fields[f"{name}_id"] = source.id
        elif isinstance(source, Url):
            fields[f"{name}_url"] = source.url
        else:
            files[f"{name}_file"] = read_media(source)
        if rotate:
            fields[f"{name}_auto_rotate"] = "true"
    path = "/identity/compare_faces_in_two_images"
    return job(results.ScoreMatrix, "compare_all", path, Access.PAIR, fields, files=files)


def verify(first: Media, second: Media) -> Operation[results.Verification]:
    """Whether the largest faces of two pictures are of one person. Takes every format, at most
    1.5 MB a picture."""
    fields = {"image1": to_base64(first), "image2": to_base64(second)}
    return job(results.Verification, "verify", "/face2/verify", Access.SIGNED, fields)


def features(picture: Media) -> Operation[results.Features]:
    """The largest face as a vector. Takes every format, at most 1.5 MB. ``JobFailed`` with a
    model pack that does not give 512 numbers."""
    fields = {"image": to_base64(picture)}
    return job(results.Features, "features", "/face2/features", Access.SIGNED, fields)


# Faces of the gallery -------------------------------------------------------------------


def enrol(
    picture: Media, *, name: str = "", description: str = "", gender: str = "",
    image_id: str = "",
) -> Operation[results.EnrolledFace]:
    """Enrol the largest face of a picture if it is good enough (``BadQuality``) and the picture
    is new (``Conflict``). ``image_id``: the caller's own id of the picture. JPEG, PNG, BMP of at
    most 4 MB, 100 to 4,096 pixels. The face is in no collection: ``bind`` puts it there."""
    fields = {
        "image": to_base64(picture), "name": name, "description": description,
        "gender": gender, "imageMd5": image_id,
    }
    return job(results.EnrolledFace, "enrol", "/api/faces", Access.API_KEY, fields)


def enrol_single(picture: Media, *, name: str = "") -> Operation[results.NamedFace]:
    """Enrol the one face of a picture (``ManyFaces``), whatever its quality. Without a name it is
    the time. Takes every format. A picture that is enrolled already gives the face that there is,
    or under another name one more."""
    fields = {"Fimg": to_base64(picture), "Fname": name}
    return job(results.NamedFace, "enrol_single", "/api/face", Access.NUMBER, fields)


def replace_face(
    face_id: int, picture: Media, *, name: str = ""
) -> Operation[results.NamedFace]:
    """Give an enrolled face another picture, with one face, and another name if there is one.
    ``NotFound``."""
    fields = {"Fid": face_id, "Fimg": to_base64(picture), "Fname": name}
    kind, access = results.NamedFace, Access.NUMBER
    return job(kind, "replace_face", "/api/face", access, fields, method="PUT")


def rename_face(face_id: int, name: str) -> Operation[results.NamedFace]:
    """Give an enrolled face another name. ``NotFound``."""
    return _numbered("rename_face", "PUT", "/api/face", {"Fid": face_id, "Fname": name})


def find_face(face_id: int) -> Operation[results.NamedFace]:
    """A face by its number. ``NotFound``."""
    return _numbered("find_face", "GET", "/api/singleface", {"Fid": face_id})


def remove_face(face_id: int) -> Operation[results.NamedFace]:
    """Delete a face, and its picture unless another face is on it. ``NotFound``."""
    fields = {"Fid": face_id}
    return _numbered("remove_face", "DELETE", "/api/face", fields, repeatable=False)


def _numbered(
    name: str, method: str, path: str, fields: Json, *, repeatable: bool = True
) -> Operation[results.NamedFace]:
    return record(
        NUMBERED, results.NamedFace.of, name, method, path, Access.NUMBER,
        fields=fields, repeatable=repeatable,
    )


def list_faces(*, offset: int = 0, limit: int = 1000) -> Operation[gallery.FacePage]:
    """A page of the faces, whichever way they were enrolled; ``limit`` 1 to 1,000."""
    return _page("list_faces", "/api/faces", offset, limit)


def get_face(face_token: str) -> Operation[gallery.ShownFace]:
    """A face with its cut-out. ``NotFound``."""
    path = f"/api/faces/faceToken/{in_path(face_token)}"
    return record(GROUPS, gallery.ShownFace.of, "get_face", "GET", path)


def delete_face(face_token: str) -> Operation[None]:
    """Delete a face; its picture stays. ``NotFound``."""
    path = f"/api/faces/{in_path(face_token)}"
    return record(GROUPS, _none, "delete_face", "DELETE", path, repeatable=False)


def get_picture(image_id: str) -> Operation[gallery.StoredPicture]:
    """A picture as it was enrolled. ``NotFound``."""
    path = f"/api/faces/image/{in_path(image_id)}"
    return record(GROUPS, gallery.StoredPicture.of, "get_picture", "GET", path)


def delete_picture(image_id: str) -> Operation[None]:
    """Delete a picture with its faces. ``NotFound``."""
    path = f"/api/faces/image/{in_path(image_id)}"
    return record(GROUPS, _none, "delete_picture", "DELETE", path, repeatable=False)


def clear_gallery() -> Operation[None]:
    """Delete every face and every picture of the application; its collections stay, empty."""
    path = "/api/faces/facesLib"
    return record(GROUPS, _none, "clear_gallery", "DELETE", path, repeatable=False)


# Collections -------------------------------------------------------------------------


def list_collections() -> Operation[tuple[gallery.Collection, ...]]:
    """Every collection; ``default`` is always there."""
    def read(data: Json) -> tuple[gallery.Collection, ...]:
        return tuple(map(gallery.Collection.of, data["faceGroupList"]))

    return record(GROUPS, read, "list_collections", "GET", "/api/faceGroups")


def create_collection(
    key: str, name: str, *, type: str = "", score: int = 80,  # noqa: A002  # the service's word
) -> Operation[None]:
    """Make a collection. ``key`` has at most 32 bytes, ``name`` 128; hits in it have a score
    above ``score``. ``Conflict`` if the key or the name is taken, or there are 64."""
    fields = {"groupId": key, "groupName": name, "groupType": type, "groupScore": score}
    return record(
        GROUPS, _none, "create_collection", "POST", "/api/faceGroups", fields=fields,
        repeatable=False,
    )


def update_collection(
    key: str, *, name: str | None = None, type: str | None = None,  # noqa: A002
    score: int | None = None,
) -> Operation[None]:
    """Change what is given. ``NotFound``, ``Conflict``."""
    values = {"groupId": key, "groupName": name, "groupType": type, "groupScore": score}
    fields = {each: value for each, value in values.items() if value is not None}
    return record(GROUPS, _none, "update_collection", "PUT", "/api/faceGroups", fields=fields)


def delete_collection(
    key: str, what: CollectionDeletion = CollectionDeletion.COLLECTION_ONLY
) -> Operation[None]:
    """Delete or empty a collection. ``NotFound``; ``Conflict`` for ``default``, and while a job
    names it."""
    path, fields = f"/api/faceGroups/{in_path(key)}", {"deleteAllFace": int(what)}
    return record(
        GROUPS, _none, "delete_collection", "DELETE", path, fields=fields, repeatable=False
    )


def list_collection_faces(
    key: str, *, offset: int = 0, limit: int = 1000
) -> Operation[gallery.FacePage]:
    """A page of a collection's faces; ``limit`` 1 to 1,000. ``NotFound``."""
    return _page("list_collection_faces", f"/api/faceGroups/{in_path(key)}", offset, limit)


def bind(face_token: str, keys: Iterable[str]) -> Operation[gallery.BindingReport]:
    """Put a face into collections. ``NotFound`` for the face alone."""
    path, fields = f"/api/faceGroups/binding/{in_path(face_token)}", {"faceGroupList": [*keys]}
    return record(GROUPS, gallery.BindingReport.of, "bind", "POST", path, fields=fields)


def unbind(face_token: str, keys: Iterable[str]) -> Operation[gallery.BindingReport]:
    """Take a face out of collections. ``NotFound`` for the face alone."""
    path, fields = f"/api/faceGroups/unbind/{in_path(face_token)}", {"faceGroupList": [*keys]}
    return record(GROUPS, gallery.BindingReport.of, "unbind", "DELETE", path, fields=fields)


def _page(name: str, path: str, offset: int, limit: int) -> Operation[gallery.FacePage]:
    query = {"pageOffset": offset, "pageSize": limit}
    return record(GROUPS, gallery.FacePage.of, name, "GET", path, query=query)


# Searching ----------------------------------------------------------------------------


def search(
    picture: Media, collections: Iterable[str] = ("default",), *, top: int = 5,
    liveness: bool = False, vector: bool = False,
) -> Operation[results.SearchResult]:
    """The faces of collections that are like the largest in a picture: ``top`` (1 to 5), above
    the score of their collection. JPEG, PNG, BMP of at most 4 MB. ``NotFound`` for a collection."""
    fields = {
        "image": to_base64(picture), "group": [*collections], "topN": top,
        "livenessEnabled": liveness, "featureUpload": vector,
    }
    return job(results.SearchResult, "search", "/api/face/search", Access.API_KEY, fields)


def add_people(
    picture: Media, *, name: str = "", collection: str = ""
) -> Operation[results.AddedPeople]:
    """Add everyone in a picture to a collection (``default`` without one). ``name``: 1 to 128
    letters and digits of ASCII, for all of them. JPEG, PNG, BMP of at most 2 MB."""
    fields = _given(img=to_base64(picture), name=name, facedb=collection)
    return job(results.AddedPeople, "add_people", "/v1/addface", Access.API_KEY, fields)


def find_people(picture: Media, *, collection: str = "") -> Operation[results.FoundPeople]:
    """Everyone like the largest face in a picture, in a collection or the whole gallery.
    JPEG, PNG, BMP of at most 2 MB."""
    fields = _given(img=to_base64(picture), facedb=collection)
    return job(results.FoundPeople, "find_people", "/v1/searchface", Access.API_KEY, fields)


def delete_person(person_id: str, *, collection: str = "") -> Operation[None]:
    """Delete a person; with a collection only if the person is in it. ``NotFound``."""
    fields = _given(person_id=person_id, facedb=collection)
    return record(
        PEOPLE, _none, "delete_person", "POST", "/v1/delface", fields=fields, repeatable=False
    )


def match(
    face_id: int, picture: Media, *, threshold: float = 0.6
) -> Operation[results.Match]:
    """Whether the one face in a picture (``ManyFaces``) is the enrolled one: whether their
    distance is below ``threshold``, 0 to 1. Takes every format. ``NotFound``."""
    fields = {"Fid": face_id, "Fimg": to_base64(picture), "Threshold": threshold}
    return job(results.Match, "match", "/api/match", Access.NUMBER, fields)


# Liveness ---------------------------------------------------------------------------------


def living(
    face_id: int, clip: Media, *, action: Action = "blink", challenge: str = "",
    threshold: float = 0.6,
) -> Operation[results.LivingVerdict]:
    """Whether a clip shows the enrolled person, alive, doing the ``action`` or the actions of a
    ``challenge`` (its id). MP4, WebM, AVI or MOV of at most 20 MB and 30 s. ``BadClip``,
    ``ChallengeRefused``, ``NotFound``."""
    asked = {"Challenge": challenge} if challenge else {"Action": _ACTIONS[action]}
    fields = {"Fid": face_id, "Fvideo": to_base64(clip), "Threshold": threshold, **asked}
    return job(results.LivingVerdict, "living", "/api/living", Access.NUMBER, fields)


def ask_challenge(
    face_id: int, *, actions: int = 3, mirrored: bool = False
) -> Operation[gallery.Challenge]:
    """Two to four actions in a random order, for one clip of a face; ``mirrored``: the camera
    records as a mirror shows. ``NotFound``."""
    fields = {"Fid": face_id, "Actions": actions, "Mirrored": "true" if mirrored else "false"}
    return record(
        NUMBERED, gallery.Challenge.of, "ask_challenge", "POST", "/api/living/challenge",
        Access.NUMBER, fields=fields,
    )


def evidence(job_id: str) -> Operation[gallery.Evidence]:
    """Why the clip of a liveness job was taken for live or not. ``Conflict`` while the job has
    not ended, ``NotFound``."""
    def read(data: Json) -> gallery.Evidence:
        if data.get("status") in ("queued", "running"):
            raise Conflict("The job has not ended.", job_id=job_id)
        return gallery.Evidence.of(data)

    path = f"/jobs/{in_path(job_id)}/evidence"
    return record(NATIVE, read, "evidence", "POST", path, Access.ANY)


# Jobs and batches -----------------------------------------------------------------------


def health() -> Operation[gallery.Health]:
    """The state of the service; needs no credential, and is no error when it is bad."""
    def read(response: httpx.Response) -> gallery.Health:
        return gallery.Health.of(read_object(response))

    return Operation(name="health", method="GET", path="/health", access=Access.NONE, read=read)


def cancel_job(job_id: str) -> Operation[None]:
    """Cancel a job. ``Conflict`` if it has ended, ``NotFound``."""
    path = f"/jobs/{in_path(job_id)}"
    return record(NATIVE, _none, "cancel_job", "DELETE", path, Access.ANY, repeatable=False)


def start_batch(
    items: Iterable[BatchSource | str] | None = None, *, prefix: str | None = None,
    collection: str = "", layout: Literal["auto", "flat", "person"] = "auto",
    faces: Literal["largest", "one", "all"] = "largest", gate: bool = False,
    refuse_doubles: bool = False, take_litter: bool = False,
) -> Operation[Batch]:
    """Enrol up to 100,000 ``items`` (keys below the application's folder of the operator's
    bucket) or everything below a ``prefix``. ``collection`` is for items that name none;
    ``layout`` says what names a person (``person``: the folder, ``flat``: the file); ``gate``
    rejects faces of low quality, ``refuse_doubles`` people who are enrolled under another name;
    ``take_litter`` takes what systems leave beside pictures. ``NotFound`` for a collection,
    ``NotPermitted`` where importing is switched off."""
    fields: Json = {
        "collection": collection, "layout": layout, "faces": faces, "gate": gate,
        "refuse_doubles": refuse_doubles, "take_litter": take_litter,
    }
    if items is not None:
        named = (BatchSource(each) if isinstance(each, str) else each for each in items)
        fields["items"] = [each.to_json() for each in named]
    if prefix is not None:
        fields["prefix"] = prefix
    return record(
        NATIVE, Batch.of, "start_batch", "POST", "/batches", Access.HEADER, fields=fields,
        keyed=True,
    )


def list_batches(*, offset: int = 0, limit: int = 50) -> Operation[BatchPage]:
    """A page of the application's batches, newest first; ``limit`` 1 to 1,000."""
    query = {"offset": offset, "limit": limit}
    return record(
        NATIVE, BatchPage.of, "list_batches", "GET", "/batches", Access.HEADER, query=query
    )


def get_batch(batch_id: str) -> Operation[Batch]:
    """A batch; once it has ended with the reasons of its items. ``NotFound``."""
    path = f"/batches/{in_path(batch_id)}"
    return record(NATIVE, Batch.of, "get_batch", "GET", path, Access.HEADER)


def list_batch_items(
    batch_id: str, *, after: int = 0, limit: int = 100, status: str = "", reason: str = ""
) -> Operation[ItemPage]:
    """A page of a batch's items by number, those of a ``status`` or a ``reason`` if given;
    ``limit`` 1 to 1,000. ``NotFound``."""
    query: dict[str, str | int] = {"after": after, "limit": limit}
    query |= _given(state=status, reason=reason)
    path = f"/batches/{in_path(batch_id)}/items"
    return record(
        NATIVE, ItemPage.of, "list_batch_items", "GET", path, Access.HEADER, query=query
    )


def cancel_batch(batch_id: str) -> Operation[Batch]:
    """Cancel the waiting items; enrolled ones stay. ``NotFound``."""
    path = f"/batches/{in_path(batch_id)}/cancel"
    return record(NATIVE, Batch.of, "cancel_batch", "POST", path, Access.HEADER)


def retry_batch(
    batch_id: str, *, states: Sequence[Literal["rejected", "cancelled"]] = (),
    reasons: Sequence[str] = (),
) -> Operation[int]:
    """Try rejected and cancelled items again, or those of ``states`` and ``reasons``; gives
    their number. ``NotFound``; ``Conflict`` while an operator reads its source."""
    asked = {"states": [*states], "reasons": [*reasons]}
    fields = {name: values for name, values in asked.items() if values}
    return record(
        NATIVE, lambda data: int(data["retried"]), "retry_batch", "POST",
        f"/batches/{in_path(batch_id)}/retry", Access.HEADER, fields=fields, repeatable=False,
    )
