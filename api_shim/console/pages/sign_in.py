"""Signing in: by name and password, by a one-time code, by a link; and signing out."""

from __future__ import annotations

from api_shim.console.entrance import (
    NAME_LIMIT,
    attempt,
    begun,
    continued,
    end_session,
    enter,
    take_attempt,
    with_cookie,
)
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.dialects.error_messages import retry_headers
from api_shim.requests import Reply
from api_shim.resource import error_status
from pipeline.encryption.hashing import digest
from pipeline.errors import FaceError, LimitReached, RequestRefused
from pipeline.operators.model import Operator


def show(view: View) -> Reply:
    to = view.home(view.query.get("to", ""))
    if view.session is not None:
        return view.redirect(to)
    return render(view, "sign_in/page.html", to=to, name="", problem="")


def sign_in(view: View) -> Reply:
    """Name and password, or, when they were right, the one-time code."""
    to = view.fields.get("to", "")
    if "begun" in view.fields:
        return _take_code(view, to)
    name, password = view.fields.get("name", ""), view.fields.get("password", "")
    try:
        operator = attempt(view, name, "password", lambda: _by_password(view, name, password))
    except RequestRefused as error:
        return refused(view, error, to=view.home(to), name=name)
    return next_step(view, operator, to)


def _by_password(view: View, name: str, password: str) -> Operator:
    service = view.services.service
    if service.operators.find(name) is None:
        take_attempt(view, digest(name), NAME_LIMIT)
    return service.sign_in.by_password(name, password)


def next_step(view: View, operator: Operator, to: str) -> Reply:
    """Let an operator in, or ask for the one-time code."""
    if operator.has_codes:
        token = begun(view, operator)
        return render(view, "sign_in/code.html", to=view.home(to), begun=token, problem="")
    return enter(view, operator, to)


def _take_code(view: View, to: str) -> Reply:
    token, code = view.fields["begun"], view.fields.get("code", "")
    try:
        operator = continued(view, token)
    except RequestRefused as error:
        return refused(view, error, to=view.home(to), name="")

    def check() -> Operator:
        view.services.service.sign_in.check_code(operator.id, code)
        return operator

    try:
        attempt(view, operator.name, "code", check)
    except RequestRefused as error:
        return refused(view, error, "sign_in/code.html", to=view.home(to), begun=token)
    return enter(view, operator, to)


def refused(
    view: View, error: FaceError, template: str = "sign_in/page.html", **values: object
) -> Reply:
    """The form again, with what is wrong."""
    view.call.labels.code = error.code
    reply = render(
        view, template, error_status(error), problem=_sentence(view, error), **values
    )
    return Reply(
        reply.status, reply.body, reply.media_type, {**reply.headers, **retry_headers(error)}
    )


def _sentence(view: View, error: FaceError) -> str:
    texts = view.texts
    if isinstance(error, LimitReached):
        wait = texts.seconds(max(error.retry_after_s, 1.0))
        return texts.gettext("Too many attempts. Try again in %s.") % wait
    return texts.gettext(error.message)


def show_link(view: View) -> Reply:
    """A page with a button: who only looks at the link does not use it up."""
    return render(view, "sign_in/link.html", token=view.query.get("token", ""))


def use_link(view: View) -> Reply:
    token = view.fields.get("token", "")
    sessions = view.services.service.sessions
    found = sessions.find_link(token)
    try:
        operator = attempt(
            view, found.name if found else "", "link", lambda: sessions.use_link(token)
        )
    except RequestRefused as error:
        return refused(view, error, to=view.home(""), name="")
    return next_step(view, operator, "")


def sign_out(view: View) -> Reply:
    audit, actor = view.services.service.audit, view.actor
    seq = audit.begin(
        actor.operator.name, "session.close", host=actor.host, request_id=actor.request_id
    )
    end_session(view)
    audit.end(seq)
    return with_cookie(view, view.redirect("/console/sign-in"), "")


PAGES = (
    Page("/console/sign-in", get=show, post=sign_in, public=True),
    Page("/console/sign-in/link", get=show_link, post=use_link, public=True),
    Page("/console/sign-out", post=sign_out),
)
