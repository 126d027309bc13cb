"""Accounts of operators, and tokens of their programs, for administrators."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from pipeline.errors import InvalidParameter
from pipeline.operators.model import MAX_NAME, Operator, OperatorRole, SessionInfo
from pipeline.operators.sessions import MAX_TOKEN_DAYS

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]

LINK_PATH = "/console/sign-in/link"


class OperatorList(msgspec.Struct, frozen=True):
    """All accounts, the oldest first."""

    operators: list[Operator]


class OperatorName(msgspec.Struct, frozen=True, kw_only=True):
    """Which account."""

    name: Name


class OperatorDetails(msgspec.Struct, frozen=True):
    """An account, and its sessions and tokens."""

    operator: Operator
    sessions: list[SessionInfo]


class NewOperator(msgspec.Struct, frozen=True, kw_only=True):
    """A new account. ``sees_faces``: may see pictures of people. ``external``: it belongs to
    whoever the identity provider calls so, and signs in there only."""

    name: Name
    role: OperatorRole = OperatorRole.VIEWER
    sees_faces: bool = False
    external: bool = False


class OperatorChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an account; null leaves it."""

    name: Name
    role: OperatorRole | None = None
    sees_faces: bool | None = None
    disabled: bool | None = None


class SignInLink(msgspec.Struct, frozen=True):
    """``path`` signs the operator in once, within an hour. It is shown once, and empty for an
    account that signs in at the identity provider."""

    operator: Operator
    path: str


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token for a program, which then acts as the operator for ``days``."""

    name: Name
    program: Name
    days: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKEN_DAYS)] = 90


class IssuedToken(msgspec.Struct, frozen=True):
    """A program's token, for `Authorization: Bearer`. It is shown once."""

    token: str


class TokenChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A session or a program's token of an account, by its id."""

    name: Name
    id: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


def list_operators(services: AdminServices, _actor: Actor, _given: Nothing) -> OperatorList:
    return OperatorList(services.service.operators.all())


def show(services: AdminServices, _actor: Actor, given: OperatorName) -> OperatorDetails:
    found = services.service.operators.by_name(given.name)
    return OperatorDetails(found, services.service.sessions.of(found.id))


def create(services: AdminServices, _actor: Actor, given: NewOperator) -> SignInLink:
    service = services.service
    if given.external:
        require_provider(services)
        made = service.external.create(given.name, given.role, sees_faces=given.sees_faces)
        return SignInLink(made, "")
    return _link(
        services, service.operators.create(given.name, given.role, sees_faces=given.sees_faces)
    )


def require_provider(services: AdminServices) -> None:
    """Raises ``InvalidParameter`` where no identity provider is set up."""
    if services.service.identity_provider is None:
        raise InvalidParameter("no identity provider is set up")


def change(services: AdminServices, _actor: Actor, given: OperatorChange) -> Operator:
    return services.service.operators.change(
        given.name, role=given.role, sees_faces=given.sees_faces, disabled=given.disabled
    )


def reset(services: AdminServices, _actor: Actor, given: OperatorName) -> SignInLink:
    return _link(services, services.service.operators.reset(given.name))


def expect(services: AdminServices, _actor: Actor, given: OperatorName) -> Operator:
    require_provider(services)
    return services.service.external.expect(given.name)


def issue_token(services: AdminServices, _actor: Actor, given: NewToken) -> IssuedToken:
    found = services.service.operators.by_name(given.name)
    return IssuedToken(services.service.sessions.issue_token(found.id, given.program, given.days))


def revoke(services: AdminServices, _actor: Actor, given: TokenChoice) -> Nothing:
    found = services.service.operators.by_name(given.name)
    services.service.sessions.end_one(found.id, given.id)
    return Nothing()


def _link(services: AdminServices, operator: Operator) -> SignInLink:
    return SignInLink(operator, link_path(services.service.sessions.make_link(operator.id)))


def link_path(token: str) -> str:
    """The path of a sign-in link, below the service's own."""
    return f"{LINK_PATH}?token={token}"


def change_subject(given: OperatorChange) -> str:
    values = msgspec.structs.asdict(given)
    said = [f"{key} {each}" for key, each in values.items() if key != "name" and each is not None]
    return f"{given.name}: {', '.join(said)}"


LIST_OPERATORS = AdminOperation(
    "operator.list", "GET", "/operators", "All accounts of operators.",
    OperatorRole.ADMINISTRATOR, Nothing, OperatorList, list_operators,
)
CREATE_OPERATOR = AdminOperation(
    "operator.create", "POST", "/operators", "A new account, with a link that signs in once.",
    OperatorRole.ADMINISTRATOR, NewOperator, SignInLink, create,
    subject_of=lambda given: f"{given.name}: {given.role.value}",
)
SHOW_OPERATOR = AdminOperation(
    "operator.show", "GET", "/operators/{name}", "An account, and where it is signed in.",
    OperatorRole.ADMINISTRATOR, OperatorName, OperatorDetails, show,
    subject_of=lambda given: given.name,
)
CHANGE_OPERATOR = AdminOperation(
    "operator.change", "PATCH", "/operators/{name}",
    "Change an account's role, whether it sees people, or whether it is disabled.",
    OperatorRole.ADMINISTRATOR, OperatorChange, Operator, change,
    subject_of=change_subject,
)
RESET_OPERATOR = AdminOperation(
    "operator.reset", "POST", "/operators/{name}/reset",
    "Forget an account's password and one-time codes, or that it signs in at the identity "
    "provider, end its sessions, and make a link that signs in once.",
    OperatorRole.ADMINISTRATOR, OperatorName, SignInLink, reset,
    subject_of=lambda given: given.name,
)
EXPECT_OPERATOR = AdminOperation(
    "operator.expect", "POST", "/operators/{name}/provider",
    "Let an account sign in at the identity provider only, and whoever is called so there next: "
    "its password and sessions end.",
    OperatorRole.ADMINISTRATOR, OperatorName, Operator, expect,
    subject_of=lambda given: given.name,
)
ISSUE_TOKEN = AdminOperation(
    "operator.token", "POST", "/operators/{name}/tokens", "A token for a program.",
    OperatorRole.ADMINISTRATOR, NewToken, IssuedToken, issue_token,
    subject_of=lambda given: f"{given.name}: {given.program}",
)
REVOKE = AdminOperation(
    "operator.revoke", "DELETE", "/operators/{name}/sessions/{id}",
    "End a session of an account, or a program's token.",
    OperatorRole.ADMINISTRATOR, TokenChoice, Nothing, revoke,
    subject_of=lambda given: given.name,
)


OPERATIONS = (
    LIST_OPERATORS, CREATE_OPERATOR, SHOW_OPERATOR, CHANGE_OPERATOR, RESET_OPERATOR,
    EXPECT_OPERATOR, ISSUE_TOKEN, REVOKE,
)
