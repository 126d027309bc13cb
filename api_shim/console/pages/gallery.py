"""Galleries as pages: lists of faces, a face, changes of several at once."""

from __future__ import annotations

from typing import Any

from api_shim.admin.collections import LIST_COLLECTIONS, CollectionsQuery
from api_shim.admin.enrolment import ENROL_PHOTOS
from api_shim.admin.face_search import SEARCH_FACE
from api_shim.admin.gallery import (
    CHANGE_FACE,
    DELETE_FACES,
    LIST_FACES,
    LIST_GALLERIES,
    MOVE_FACES,
    SHOW_CUTOUT,
    SHOW_FACE,
    SHOW_ORIGINAL,
    FaceChange,
    FaceMove,
    FaceQuery,
    FaceRemoval,
)
from api_shim.admin.operation import Nothing
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter
from pipeline.operators.model import OperatorRole

ROOT = "/console/gallery"
RECEIPTS = f"{ROOT}/receipts"

FACE_FIELD, COLLECTION_FIELD = "face-", "in-"
"""Begin the names of a form's fields for single faces and collections: no field has two values."""


def show_faces(view: View) -> Reply:
    names = view.perform(LIST_GALLERIES, Nothing()).applications
    if not view.query.get("application"):
        if len(names) == 1:
            return view.redirect(ROOT, application=names[0])
        return gallery_page(view, "gallery/choose.html", "", names=names)
    given = view.read(LIST_FACES)
    return gallery_page(
        view, "gallery/faces.html", given.application, given=given, names=names,
        found=view.perform(LIST_FACES, given), collections=collections_of(view, given.application),
    )


def gallery_page(view: View, template: str, application: str, **values: Any) -> Reply:
    """A page about one gallery."""
    return render(
        view, template, application=application, sees=view.permits(SHOW_CUTOUT),
        may_change=view.permits(MOVE_FACES), may_search=view.permits(SEARCH_FACE),
        may_enrol=view.permits(ENROL_PHOTOS), **values,
    )


def collections_of(view: View, application: str) -> list[tuple[str, str]]:
    """The keys of an application's collections, each with what to call it."""
    found = view.perform(LIST_COLLECTIONS, CollectionsQuery(application=application, counted=False))
    return [(each.key, each.name or each.key) for each in found.collections]


def field(view: View, name: str) -> str:
    """A field of a form. Raises ``InvalidParameter`` when it is missing."""
    if not view.fields.get(name):
        raise InvalidParameter(f"{name} is missing")
    return view.fields[name]


def chosen(view: View, prefix: str) -> list[str]:
    """What is ticked among a form's boxes whose names begin so."""
    return [name.removeprefix(prefix) for name in view.fields if name.startswith(prefix)]


def chosen_faces(view: View) -> list[int]:
    """Raises ``InvalidParameter``."""
    ids = chosen(view, FACE_FIELD)
    if not ids or not all(each.isascii() and each.isdecimal() for each in ids):
        raise InvalidParameter(view.texts.gettext("Choose at least one face."))
    return [int(each) for each in ids]


def change_several(view: View) -> Reply:
    """Move the chosen faces; before they are deleted, ask."""
    application, ids = field(view, "application"), chosen_faces(view)
    texts, what = view.texts, view.fields.get("do")
    if what == "delete":
        faces = [
            view.perform(SHOW_FACE, FaceQuery(application=application, face_id=each))
            for each in ids
        ]
        return gallery_page(view, "gallery/delete.html", application, faces=faces)
    if what not in ("into", "out_of"):
        raise InvalidParameter("there is no such change")
    key = field(view, "collection")
    moved = view.perform(
        MOVE_FACES, FaceMove(application=application, faces=ids, **{what: [key]})
    )
    notice = texts.ngettext("{} face changed.", "{} faces changed.", moved.faces)
    return view.redirect(
        ROOT, notice.format(moved.faces), application=application,
        collection=view.fields.get("back", ""),
    )


def delete(view: View) -> Reply:
    application = field(view, "application")
    removal = FaceRemoval(
        application=application, faces=chosen_faces(view),
        keep_pictures="keep_pictures" in view.fields,
    )
    gone = view.perform(DELETE_FACES, removal)
    notice = view.texts.ngettext("{} face deleted.", "{} faces deleted.", gone.faces)
    return view.redirect(f"{RECEIPTS}/{gone.receipt}", notice.format(gone.faces))


def show_face(view: View) -> Reply:
    given = view.read(SHOW_FACE)
    return gallery_page(
        view, "gallery/face.html", given.application, face=view.perform(SHOW_FACE, given),
        sees_original=view.permits(SHOW_ORIGINAL),
        collections=collections_of(view, given.application),
    )


def change_face(view: View) -> Reply:
    application = field(view, "application")
    try:
        face_id = int(view.call.path_values["face_id"])
    except ValueError as error:
        raise InvalidParameter("that is no face") from error
    view.perform(CHANGE_FACE, FaceChange(
        application=application, face_id=face_id, name=view.fields.get("name"),
        gender=view.fields.get("gender"), description=view.fields.get("description"),
    ))
    if "collections" in view.fields:
        wanted = set(chosen(view, COLLECTION_FIELD))
        present = view.perform(SHOW_FACE, FaceQuery(application=application, face_id=face_id))
        now = {each.key for each in present.collections}
        if wanted != now:
            view.perform(MOVE_FACES, FaceMove(
                application=application, faces=[face_id], into=sorted(wanted - now),
                out_of=sorted(now - wanted),
            ))
    return view.redirect(
        f"{ROOT}/faces/{face_id}", view.texts.gettext("Saved."), application=application
    )


PAGES = (
    Page(ROOT, get=show_faces),
    Page(f"{ROOT}/change", post=change_several, role=OperatorRole.OPERATOR),
    Page(f"{ROOT}/delete", post=delete, role=OperatorRole.OPERATOR),
    Page(f"{ROOT}/faces/{{face_id}}", get=show_face, post=change_face),
)
