"""Operators, their roles and what they may see, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OperatorRole(StrEnum):
    """What an operator may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    def permits(self, needed: OperatorRole) -> bool:
        """Whether this role may do what ``needed`` is required for."""
        order = list(OperatorRole)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Operator:
    """An account of the console and of ``/admin``. ``sees_faces``: may see pictures of people."""

    id: int
    name: str
    role: OperatorRole
    sees_faces: bool
    created_at: float
    disabled_at: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """An operator who is signed in. ``csrf_token`` stands in each form of the session."""

    operator: Operator
    csrf_token: str


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
