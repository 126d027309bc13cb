"""Operators, their roles and what they may see, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import InvalidParameter
from pipeline.identifiers import is_path_name


class OperatorRole(StrEnum):
    """What an operator may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    def permits(self, needed: OperatorRole) -> bool:
        """Whether this role may do what ``needed`` is required for."""
        order = list(OperatorRole)
        return order.index(self) >= order.index(needed)


MAX_NAME = 128
"""Characters of an operator's name, and of a program's."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An account of the console and of ``/admin``. ``sees_faces``: may see pictures of people.
    ``has_password`` and ``has_codes``: signs in by a password, and with one-time codes;
    ``is_external``: at the identity provider. ``locked_until``: passwords are not looked at
    before."""

    id: int
    name: str
    role: OperatorRole
    sees_faces: bool
    created_at: float
    disabled_at: float | None
    has_password: bool
    has_codes: bool
    is_external: bool
    locked_until: float


@dataclass(frozen=True, slots=True)
class Session:
    """An operator who is signed in, or one of an operator's programs. ``id`` is a digest of the
    session's token; ``csrf_token`` stands in each of its forms."""

    operator: Operator
    id: str
    csrf_token: str
    program: str = ""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as its operator sees it, or a program's token, whose name ``program`` is."""

    id: str
    program: str | None
    created_at: float
    seen_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One look at a person, one change, or one refusal. ``outcome`` is ``done``, the code of the
    error that ended the action, or empty for one whose process died."""

    seq: int
    at: float
    operator: str
    action: str
    application: str
    subject: str
    host: str
    request_id: str
    outcome: str


def check_name(name: str) -> str:
    """The name of a new account or program. Raises ``InvalidParameter``."""
    if not (0 < len(name) <= MAX_NAME and name == name.strip() and is_path_name(name)):
        raise InvalidParameter(
            f"a name has 1 to {MAX_NAME} printable characters, no slash, and no blank at an end"
        )
    return name
