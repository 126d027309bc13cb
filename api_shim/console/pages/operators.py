"""Accounts of operators as pages, for administrators."""

from __future__ import annotations

from urllib.parse import quote

from api_shim.admin.operation import Nothing
from api_shim.admin.operators import (
    CHANGE_OPERATOR,
    CREATE_OPERATOR,
    EXPECT_OPERATOR,
    ISSUE_TOKEN,
    LIST_OPERATORS,
    RESET_OPERATOR,
    REVOKE,
    SHOW_OPERATOR,
    NewOperator,
    NewToken,
    OperatorChange,
    OperatorName,
    SignInLink,
    TokenChoice,
)
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.errors import BadInput, Conflict, FaceError, InvalidParameter
from pipeline.operators.model import OperatorRole
from pipeline.operators.sessions import MAX_TOKEN_DAYS

OPERATORS = "/console/operators"

ROLE = OperatorRole.ADMINISTRATOR


def show_all(view: View) -> Reply:
    return _all(view)


def _all(view: View, error: FaceError | None = None) -> Reply:
    found = view.perform(LIST_OPERATORS, Nothing())
    return render(
        view, "operators/all.html", 400 if error else 200, operators=found.operators,
        roles=list(OperatorRole), problem=view.texts.gettext(error.message) if error else "",
    )


def create(view: View) -> Reply:
    fields = view.fields
    try:
        made = view.perform(CREATE_OPERATOR, NewOperator(
            name=fields.get("name", ""), role=_role(view), sees_faces="sees_faces" in fields,
            external="external" in fields,
        ))
    except (BadInput, Conflict) as error:
        return _all(view, error)
    if not made.path:
        return view.redirect(_path(made.operator.name), view.texts.gettext("It is made."))
    return _show_link(view, made)


def _role(view: View) -> OperatorRole:
    try:
        return OperatorRole(view.fields.get("role", ""))
    except ValueError as error:
        raise InvalidParameter("there is no such role") from error


def _show_link(view: View, made: SignInLink) -> Reply:
    url = view.origin + made.path
    return render(view, "operators/link.html", operator=made.operator, url=url)


def show_one(view: View) -> Reply:
    return _one(view)


def _one(view: View, error: FaceError | None = None, token: str = "") -> Reply:
    found = view.perform(SHOW_OPERATOR, OperatorName(name=view.call.path_values["name"]))
    return render(
        view, "operators/one.html", 400 if error else 200, operator=found.operator,
        sessions=[each for each in found.sessions if not each.program],
        tokens=[each for each in found.sessions if each.program], roles=list(OperatorRole),
        path=_path(found.operator.name), token=token, most_days=MAX_TOKEN_DAYS,
        problem=view.texts.gettext(error.message) if error else "",
    )


def _path(name: str) -> str:
    return f"{OPERATORS}/{quote(name, safe='')}"


def change(view: View) -> Reply:
    """Role and permission to see people, or, by its own button, disabled or not."""
    name, fields = view.call.path_values["name"], view.fields
    if "disabled" in fields:
        wanted = OperatorChange(name=name, disabled=fields["disabled"] == "yes")
    else:
        wanted = OperatorChange(name=name, role=_role(view), sees_faces="sees_faces" in fields)
    try:
        view.perform(CHANGE_OPERATOR, wanted)
    except Conflict as error:
        return _one(view, error)
    return view.redirect(_path(name), view.texts.gettext("It is changed."))


def reset(view: View) -> Reply:
    return _show_link(
        view, view.perform(RESET_OPERATOR, OperatorName(name=view.call.path_values["name"]))
    )


def expect(view: View) -> Reply:
    name = view.call.path_values["name"]
    try:
        view.perform(EXPECT_OPERATOR, OperatorName(name=name))
    except BadInput as error:
        return _one(view, error)
    return view.redirect(_path(name), view.texts.gettext("It is changed."))


def issue_token(view: View) -> Reply:
    name, fields = view.call.path_values["name"], view.fields
    days = fields.get("days", "")
    try:
        if not days.isascii() or not days.isdigit() or not 1 <= int(days) <= MAX_TOKEN_DAYS:
            raise InvalidParameter("that is no number of days")
        issued = view.perform(ISSUE_TOKEN, NewToken(
            name=name, program=fields.get("program", ""), days=int(days),
        ))
    except BadInput as error:
        return _one(view, error)
    return _one(view, token=issued.token)


def revoke(view: View) -> Reply:
    name = view.call.path_values["name"]
    view.perform(REVOKE, TokenChoice(name=name, id=view.fields.get("id", "")))
    return view.redirect(_path(name), view.texts.gettext("It is ended."))


PAGES = (
    Page(OPERATORS, get=show_all, post=create, role=ROLE),
    Page(OPERATORS + "/{name}", get=show_one, post=change, role=ROLE),
    Page(OPERATORS + "/{name}/reset", post=reset, role=ROLE),
    Page(OPERATORS + "/{name}/provider", post=expect, role=ROLE),
    Page(OPERATORS + "/{name}/tokens", post=issue_token, role=ROLE),
    Page(OPERATORS + "/{name}/sessions/end", post=revoke, role=ROLE),
)
