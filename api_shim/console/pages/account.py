"""An operator's own account as pages."""

from __future__ import annotations

import segno
from markupsafe import Markup

from api_shim.admin.account import (
    CHANGE_PASSWORD,
    END_SESSIONS,
    SHOW_ACCOUNT,
    START_CODES,
    STOP_CODES,
    CodesStart,
    CodesStop,
    PasswordChange,
    SessionChoice,
)
from api_shim.admin.operation import Nothing
from api_shim.console.entrance import with_cookie
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.errors import (
    BadCredentials,
    BadInput,
    FaceError,
    InvalidParameter,
    LimitReached,
    WrongCode,
)
from pipeline.operators.passwords import (
    MAX_PASSWORD,
    MIN_PASSWORD,
    new_secret,
    provisioning_uri,
)

ACCOUNT = "/console/account"


def show(view: View) -> Reply:
    return _account(view)


def _account(view: View, error: FaceError | None = None) -> Reply:
    account = view.perform(SHOW_ACCOUNT, Nothing())
    return render(
        view, "account/page.html", 400 if error else 200, account=account,
        changed="changed" in view.query, problem=_sentence(view, error), least=MIN_PASSWORD,
    )


def _sentence(view: View, error: FaceError | None) -> str:
    return view.texts.gettext(error.message) if error else ""


def change_password(view: View) -> Reply:
    """All sessions end; this browser gets a new one."""
    fields = view.fields
    password = fields.get("password", "")
    try:
        if password != fields.get("again", ""):
            raise InvalidParameter("The two new passwords differ.")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidParameter(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        view.perform(
            CHANGE_PASSWORD, PasswordChange(password=password, present=fields.get("present", ""))
        )
    except (BadInput, BadCredentials, WrongCode, LimitReached) as error:
        return _account(view, error)
    token = view.services.service.sessions.open(view.signed_in.operator.id)
    return with_cookie(view, view.redirect(ACCOUNT, changed=1), token)


def show_codes(view: View) -> Reply:
    return _codes(view, new_secret())


def _codes(view: View, secret: str, error: FaceError | None = None) -> Reply:
    operator = view.signed_in.operator
    code = segno.make(provisioning_uri(secret, operator.name), error="m")
    return render(
        view, "account/codes.html", 400 if error else 200, secret=secret,
        picture=Markup(code.svg_inline(scale=5, dark="#000", light="#fff")),  # noqa: S704  # its own
        has_password=operator.has_password, problem=_sentence(view, error),
    )


def start_codes(view: View) -> Reply:
    fields = view.fields
    secret = fields.get("secret", "")
    try:
        view.perform(START_CODES, CodesStart(
            secret=secret, code=fields.get("code", ""), present=fields.get("present", ""),
        ))
    except (BadCredentials, WrongCode, LimitReached) as error:
        return _codes(view, secret, error)
    return view.redirect(ACCOUNT, view.texts.gettext("One-time codes are on."))


def stop_codes(view: View) -> Reply:
    try:
        view.perform(STOP_CODES, CodesStop(present=view.fields.get("present", "")))
    except (BadCredentials, WrongCode, LimitReached) as error:
        return _account(view, error)
    return view.redirect(ACCOUNT, view.texts.gettext("One-time codes are off."))


def end_sessions(view: View) -> Reply:
    view.perform(END_SESSIONS, SessionChoice(id=view.fields.get("id", "")))
    return view.redirect(ACCOUNT, view.texts.gettext("It is signed out there."))


PAGES = (
    Page(ACCOUNT, get=show),
    Page("/console/account/password", post=change_password),
    Page("/console/account/codes", get=show_codes, post=start_codes),
    Page("/console/account/codes/stop", post=stop_codes),
    Page("/console/account/sessions/end", post=end_sessions),
)
