"""An operator's own account: password, one-time codes, sessions."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from pipeline.errors import NotPermitted
from pipeline.operators.model import MAX_NAME, Operator, OperatorRole, SessionInfo
from pipeline.operators.passwords import MAX_PASSWORD, MIN_PASSWORD

Password = Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class Account(msgspec.Struct, frozen=True):
    """The operator who asks, and where the account is signed in. ``session`` is the id of the
    session that asks."""

    operator: Operator
    sessions: list[SessionInfo]
    session: str


class PasswordChange(msgspec.Struct, frozen=True, kw_only=True):
    """A new password; ``present`` is the one that the account has, if it has one."""

    password: Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
    present: Password = ""


class CodesStart(msgspec.Struct, frozen=True, kw_only=True):
    """The secret of one-time codes in Base32, as the app has it, and the code that the app shows;
    ``present`` is the account's password, if it has one."""

    secret: Annotated[str, msgspec.Meta(min_length=32, max_length=64, pattern="^[A-Z2-7]+$")]
    code: Annotated[str, msgspec.Meta(max_length=12)]
    present: Password = ""


class CodesStop(msgspec.Struct, frozen=True, kw_only=True):
    """``present`` is the account's password, if it has one."""

    present: Password = ""


class SessionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The session to end; without ``id`` all but the one that asks."""

    id: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] = ""


def show(services: AdminServices, actor: Actor, _given: Nothing) -> Account:
    found = services.service.sessions.of(actor.operator.id)
    return Account(actor.operator, found, actor.session_id)


def change_password(services: AdminServices, actor: Actor, given: PasswordChange) -> Nothing:
    _require_person(actor)
    services.service.sign_in.set_password(actor.operator, given.present, given.password)
    return Nothing()


def start_codes(services: AdminServices, actor: Actor, given: CodesStart) -> Nothing:
    _require_person(actor)
    services.service.sign_in.start_codes(actor.operator, given.present, given.secret, given.code)
    return Nothing()


def stop_codes(services: AdminServices, actor: Actor, given: CodesStop) -> Nothing:
    _require_person(actor)
    services.service.sign_in.stop_codes(actor.operator, given.present)
    return Nothing()


def end_sessions(services: AdminServices, actor: Actor, given: SessionChoice) -> Nothing:
    _require_person(actor)
    sessions = services.service.sessions
    if given.id:
        sessions.end_one(actor.operator.id, given.id)
    else:
        sessions.end_others(actor.operator.id, actor.session_id)
    return Nothing()


def _require_person(actor: Actor) -> None:
    """A program's token must not become a way to sign in."""
    if actor.program:
        raise NotPermitted("a program cannot change its operator's account")


SHOW_ACCOUNT = AdminOperation(
    "account.show", "GET", "/account", "Who asks, and where this account is signed in.",
    OperatorRole.VIEWER, Nothing, Account, show,
)
CHANGE_PASSWORD = AdminOperation(
    "account.password", "POST", "/account/password",
    "Change one's own password; all sessions end.",
    OperatorRole.VIEWER, PasswordChange, Nothing, change_password,
)
START_CODES = AdminOperation(
    "account.codes_on", "POST", "/account/codes", "Ask for one-time codes at each sign-in.",
    OperatorRole.VIEWER, CodesStart, Nothing, start_codes,
)
STOP_CODES = AdminOperation(
    "account.codes_off", "POST", "/account/codes/stop", "Ask for no one-time codes any more.",
    OperatorRole.VIEWER, CodesStop, Nothing, stop_codes,
)
END_SESSIONS = AdminOperation(
    "account.end_sessions", "POST", "/account/sessions/end",
    "End one of one's own sessions, or all others.",
    OperatorRole.VIEWER, SessionChoice, Nothing, end_sessions,
)

OPERATIONS = (SHOW_ACCOUNT, CHANGE_PASSWORD, START_CODES, STOP_CODES, END_SESSIONS)
