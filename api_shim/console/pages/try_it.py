"""Trying it: a photo, two photos, a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api_shim.admin.operation import AdminOperation
from api_shim.admin.try_it import (
    SHOW_TRY,
    TRY_CLIP,
    TRY_PAIR,
    TRY_PICTURE,
    TRY_STATE,
    ClipToTry,
    PairToTry,
    PictureToTry,
    Tried,
    TryKind,
    TryQuery,
    TryStarted,
)
from api_shim.console import try_words
from api_shim.console.failures import own_advice
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.console.try_answers import document_rows, stages_of, time_rows
from api_shim.console.try_comparison import comparison
from api_shim.console.try_verdict import verdict
from api_shim.parsing import read_form
from api_shim.requests import Reply
from api_shim.resource import error_status
from pipeline.errors import FaceError, InvalidParameter
from pipeline.media.clips import clip_format
from pipeline.media.picture_formats import picture_format
from pipeline.operators.model import OperatorRole
from pipeline.types import JsonObject

PATH = "/console/try"

SAME_FROM = 70
"""The threshold at first: one in ten thousand pairs of different people passes."""

SHOWN_FACES = 30
"""Faces of a picture of which the page tells everything."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, and what to do; ``other`` is the page for such a file."""

    message: str
    advice: str = ""
    other: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three pages. ``inputs`` are the names and titles of its files."""

    kind: TryKind
    suffix: str
    inputs: tuple[tuple[str, str], ...]
    go: str
    start: Callable[[View], TryStarted]
    operation: AdminOperation[Any, Any]


def _start_picture(view: View) -> TryStarted:
    given = PictureToTry(
        application=view.fields.get("application", ""), picture=view.files.get("picture", b"")
    )
    return view.perform(TRY_PICTURE, given)


def _start_pair(view: View) -> TryStarted:
    given = PairToTry(
        application=view.fields.get("application", ""), first=view.files.get("first", b""),
        second=view.files.get("second", b""),
    )
    return view.perform(TRY_PAIR, given)


def _start_clip(view: View) -> TryStarted:
    face = view.fields.get("face", "").strip()
    if face and not (face.isascii() and face.isdigit() and len(face) < 16 and int(face) > 0):
        raise InvalidParameter("The number of a face has digits only.")
    given = ClipToTry(
        application=view.fields.get("application", ""), clip=view.files.get("clip", b""),
        action=2 if view.fields.get("action") == "2" else 1, face=int(face) if face else None,
    )
    return view.perform(TRY_CLIP, given)


_KINDS = {
    each.kind: each for each in (
        _Kind(TryKind.PICTURE, "", (("picture", "A photo"),), "Look at it", _start_picture,
              TRY_PICTURE),
        _Kind(TryKind.PAIR, "/pair", (("first", "The first photo"), ("second", "The second photo")),
              "Compare them", _start_pair, TRY_PAIR),
        _Kind(TryKind.CLIP, "/clip", (("clip", "A clip of up to 30 seconds"),), "Watch it",
              _start_clip, TRY_CLIP),
    )
}


# The form ------------------------------------------------------------------------------


def _show_form(kind: _Kind) -> Callable[[View], Reply]:
    def show(view: View) -> Reply:
        return _form(view, kind)

    return show


def _form(view: View, kind: _Kind, problem: Problem | None = None, status: int = 200) -> Reply:
    service, told = view.services.service, view.texts.gettext
    names = [tenant.name for tenant in service.tenants.all() if not tenant.disabled]
    chosen = view.fields.get("application") or read_form(view.call.query.encode()).get(
        "application", ""
    )
    return render(
        view, "try/form.html", status, kind=kind.kind.value, suffix=kind.suffix,
        inputs=[(name, told(title)) for name, title in kind.inputs], go=told(kind.go),
        applications=names, application=chosen, problem=problem,
        hours=service.settings.job_retention_h,
        fields={name: view.fields.get(name, "") for name in ("action", "face")},
    )


def _start(kind: _Kind) -> Callable[[View], Reply]:
    def start(view: View) -> Reply:
        try:
            started = kind.start(view)
        except FaceError as error:
            return _form(view, kind, _problem(view, kind, error), error_status(error))
        return view.redirect(f"{PATH}/result/{started.job}")

    return start


def _problem(view: View, kind: _Kind, error: FaceError) -> Problem:
    texts = view.texts
    files = [view.files.get(name, b"") for name, _ in kind.inputs]
    message = try_words.failure_words(texts, error.code, error.message, error.picture)
    faulty = files[error.picture or 0]
    is_picture, other = picture_format(faulty) is not None, ""
    if kind.kind is TryKind.CLIP and is_picture:
        other = PATH
    elif kind.kind is not TryKind.CLIP and not is_picture and clip_format(faulty) is not None:
        other = f"{PATH}/clip"
    return Problem(message, own_advice(texts, error.code), other)


# What came of it -----------------------------------------------------------------------


def show_result(view: View) -> Reply:
    job = view.call.path_values["job"]
    state = view.perform(TRY_STATE, TryQuery(job=job))
    if not state.ended:
        return render(
            view, "try/waiting.html", kind=state.kind.value, application=state.application,
            waiting=state,
        )
    tried = view.perform(SHOW_TRY, TryQuery(job=job, url=view.origin))
    problem = None
    if tried.failure is not None:
        failure = tried.failure
        message = try_words.failure_words(
            view.texts, failure.code, failure.message, failure.picture
        )
        problem = Problem(message, own_advice(view.texts, failure.code))
    return render(
        view, f"try/{tried.kind.value}.html", kind=tried.kind.value,
        application=tried.application, tried=tried, problem=problem,
        stages=stages_of(tried), times=time_rows(view.texts, tried),
        documents=document_rows(view.texts, tried), **_SEEN[tried.kind](view, tried),
    )


def _seen_picture(view: View, tried: Tried) -> JsonObject:
    if tried.result is None:
        return {"picture": None, "faces": [], "unlisted": 0}
    (picture,) = tried.result["pictures"]
    faces = picture["faces"]
    return {
        "picture": picture, "unlisted": max(len(faces) - SHOWN_FACES, 0),
        "faces": [
            try_words.face_words(view.texts, face, tried.result["limits"])
            for face in faces[:SHOWN_FACES]
        ],
    }


def _seen_pair(view: View, tried: Tried) -> JsonObject:
    if tried.result is None:
        return {"pair": None}
    texts, sent = view.texts, view.query.get("threshold", "")
    threshold = min(int(sent), 100) if sent.isascii() and sent.isdigit() else SAME_FROM
    return {"pair": comparison(texts, tried.result, threshold, _KINDS[TryKind.PAIR].inputs)}


def _seen_clip(view: View, tried: Tried) -> JsonObject:
    return {"clip": None if tried.result is None else verdict(view.texts, tried.result)}


_SEEN: dict[TryKind, Callable[[View, Tried], JsonObject]] = {
    TryKind.PICTURE: _seen_picture, TryKind.PAIR: _seen_pair, TryKind.CLIP: _seen_clip,
}


PAGES = (
    *(
        Page(
            PATH + kind.suffix, get=_show_form(kind), post=_start(kind),
            role=OperatorRole.OPERATOR, carries=kind.operation.carries,
        )
        for kind in _KINDS.values()
    ),
    Page(f"{PATH}/result/{{job}}", get=show_result, role=OperatorRole.OPERATOR),
)
