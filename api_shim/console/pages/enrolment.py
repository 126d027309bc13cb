"""Enrolling photos as a page."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal, cast

from api_shim.admin.enrolment import (
    ENROL_PHOTOS,
    LIST_ENROLMENTS,
    MOST_PHOTOS,
    PhotoStates,
    PhotosToEnrol,
    PhotoToEnrol,
)
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
from pipeline.errors import InvalidParameter, MissingParameter
from pipeline.identifiers import escape_controls
from pipeline.operators.model import OperatorRole

ENROL = f"{ROOT}/enrol"
FACES = ("one", "largest", "all")


def show(view: View) -> Reply:
    """The form; with ``jobs`` the state of the photos that were sent with it."""
    application = view.query.get("application", "")
    found = PhotoStates([], 0)
    if view.query.get("jobs"):
        found = view.perform(LIST_ENROLMENTS, view.read(LIST_ENROLMENTS))
    return _page(view, application, found)


def enrol(view: View) -> Reply:
    application = field(view, "application")
    photos = [each for each in view.uploads if each.name == "photos"]
    if not photos:
        raise MissingParameter(view.texts.gettext("Choose at least one photo."))
    if len(photos) > MOST_PHOTOS:
        raise InvalidParameter(
            view.texts.gettext("Send at most {} photos at once.").format(MOST_PHOTOS)
        )
    faces = view.fields.get("faces", "one")
    if faces not in FACES:
        raise InvalidParameter("there is no such choice of faces")
    found = view.perform(ENROL_PHOTOS, PhotosToEnrol(
        application=application,
        photos=[
            PhotoToEnrol(
                image=each.data, file=_file_name(each.filename),
                name=view.fields.get("name") or PurePosixPath(_file_name(each.filename)).stem,
            )
            for each in photos
        ],
        faces=cast("Literal['one', 'largest', 'all']", faces), gate="gate" in view.fields,
        collections=chosen(view, COLLECTION_FIELD),
    ))
    return _page(view, application, found)


def _file_name(sent: str) -> str:
    """A file's name without folders and control characters."""
    return escape_controls(re.split(r"[/\\]", sent)[-1])[:255]


def _page(view: View, application: str, found: PhotoStates) -> Reply:
    jobs = ",".join(each.job_id for each in found.photos if each.job_id)
    return gallery_page(
        view, "gallery/enrol.html", application, found=found, jobs=jobs,
        collections=collections_of(view, application), most=MOST_PHOTOS,
        explain=lambda photo: explain(view.texts, photo.code, photo.reason, photo.message),
        refused=[each for each in found.photos if not each.job_id],
    )


PAGES = (
    Page(ENROL, get=show, post=enrol, role=OperatorRole.OPERATOR, carries=BodyKind.PICTURES),
)
