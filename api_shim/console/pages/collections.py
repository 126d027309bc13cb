"""The collections of a gallery as a page."""

from __future__ import annotations

from typing import Literal, cast

from api_shim.admin.collections import (
    CHANGE_COLLECTION,
    CREATE_COLLECTION,
    DELETE_COLLECTION,
    LIST_COLLECTIONS,
    CollectionChange,
    CollectionCreation,
    CollectionRemoval,
)
from api_shim.console.page import Page, View
from api_shim.console.pages.gallery import RECEIPTS, ROOT, field, gallery_page
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter
from pipeline.gallery.records import DEFAULT_SCORE
from pipeline.operators.model import OperatorRole

COLLECTIONS = f"{ROOT}/collections"
WAYS = ("only", "with_faces", "empty")


def show(view: View) -> Reply:
    given = view.read(LIST_COLLECTIONS)
    return gallery_page(
        view, "gallery/collections.html", given.application, default_score=DEFAULT_SCORE,
        found=view.perform(LIST_COLLECTIONS, given).collections,
    )


def change(view: View) -> Reply:
    """Create, change or delete one, as the form's button says."""
    application, key = field(view, "application"), field(view, "key")
    texts, what = view.texts, view.fields.get("do")
    if what == "create":
        view.perform(CREATE_COLLECTION, CollectionCreation(
            application=application, key=key, name=view.fields.get("name", ""),
            score=_score(view),
        ))
        notice = texts.gettext("Collection created.")
    elif what == "change":
        view.perform(CHANGE_COLLECTION, CollectionChange(
            application=application, collection=key, name=view.fields.get("name"),
            score=_score(view),
        ))
        notice = texts.gettext("Saved.")
    elif what in WAYS:
        how = cast("Literal['only', 'with_faces', 'empty']", what)
        view.perform(DELETE_COLLECTION, CollectionRemoval(
            application=application, collection=key, how=how
        ))
        if what != "only":
            notice = texts.gettext("Deleted. The receipt is the first of this list.")
            return view.redirect(RECEIPTS, notice, application=application)
        notice = texts.gettext("Collection deleted.")
    else:
        raise InvalidParameter("there is no such change")
    return view.redirect(COLLECTIONS, notice, application=application)


def _score(view: View) -> float:
    try:
        score = float(view.fields.get("score") or DEFAULT_SCORE)
    except ValueError as error:
        raise InvalidParameter("the score is no number") from error
    if not 0 <= score <= 100:  # NaN, too
        raise InvalidParameter("the score must be from 0 to 100")
    return score


PAGES = (
    Page(COLLECTIONS, get=show),
    Page(f"{COLLECTIONS}/change", post=change, role=OperatorRole.OPERATOR),
)
