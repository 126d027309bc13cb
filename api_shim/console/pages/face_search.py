"""Finding a face by a photo as pages."""

from __future__ import annotations

from api_shim.admin.face_search import SEARCH_FACE, SHOW_SEARCH, FaceToFind
from api_shim.body import BodyKind
from api_shim.console.failures import explain
from api_shim.console.page import Page, View
from api_shim.console.pages.gallery import (
    COLLECTION_FIELD,
    ROOT,
    chosen,
    collections_of,
    field,
    gallery_page,
)
from api_shim.requests import Reply
from pipeline.errors import MissingParameter

SEARCH = f"{ROOT}/search"


def show_form(view: View) -> Reply:
    application = view.query.get("application", "")
    return gallery_page(
        view, "gallery/search.html", application, found=None,
        collections=collections_of(view, application),
    )


def start(view: View) -> Reply:
    application = field(view, "application")
    if not view.files.get("photo"):
        raise MissingParameter(view.texts.gettext("Choose a photo."))
    found = view.perform(SEARCH_FACE, FaceToFind(
        application=application, image=view.files["photo"],
        collections=chosen(view, COLLECTION_FIELD),
    ))
    return view.redirect(f"{SEARCH}/{found.job_id}", application=application)


def show(view: View) -> Reply:
    given = view.read(SHOW_SEARCH)
    found = view.perform(SHOW_SEARCH, given)
    return gallery_page(
        view, "gallery/search.html", given.application, found=found,
        collections=collections_of(view, given.application),
        reason=explain(view.texts, found.code, found.reason, found.message),
    )


PAGES = (
    Page(SEARCH, get=show_form, post=start, carries=BodyKind.PICTURES),
    Page(f"{SEARCH}/{{job_id}}", get=show),
)
