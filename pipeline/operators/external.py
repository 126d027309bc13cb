"""Operators who sign in at an identity provider: which account is whose, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select, update

from pipeline.config.settings import Settings
from pipeline.database.engine import read_row, writing
from pipeline.database.schema import operators
from pipeline.encryption.hashing import digest
from pipeline.errors import ConfigurationError, IdentityRefused, OperatorExists
from pipeline.operators.model import Operator, OperatorRole
from pipeline.operators.store import OPERATOR_COLUMNS, OperatorStore, end_sign_ins, read_operator

UNKNOWN = "There is no account for you here: ask an administrator."
LOCAL_NAME = "The account of this name does not sign in at the identity provider."
DISABLED = "This account is disabled."
NO_ROLE = "The identity provider gives you no role here."


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at an identity provider. ``role`` and ``sees_faces`` are what its claims
    give them here; ``is_ruled``: these count, instead of what the account has."""

    issuer: str
    subject: str
    name: str
    is_ruled: bool = False
    role: OperatorRole | None = None
    sees_faces: bool = False


@dataclass(frozen=True, slots=True)
class RoleRules:
    """What values of a claim give: the highest of ``roles``, and a look at people."""

    claim: str
    roles: Mapping[str, OperatorRole]
    faces: frozenset[str]

    def role_of(self, claims: Mapping[str, Any]) -> OperatorRole | None:
        given = [self.roles[each] for each in self._values(claims) if each in self.roles]
        return max(given, key=list(OperatorRole).index, default=None)

    def shows_faces_to(self, claims: Mapping[str, Any]) -> bool:
        return not self.faces.isdisjoint(self._values(claims))

    def is_told(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claims hold the one that counts."""
        return find_claim(claims, self.claim) is not None

    def _values(self, claims: Mapping[str, Any]) -> list[str]:
        found = find_claim(claims, self.claim)
        values = found if isinstance(found, list) else [found]
        return [each for each in values if isinstance(each, str)]


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path with dots into objects; None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def read_rules(settings: Settings) -> RoleRules | None:
    """None where the console keeps the roles. Raises ``ConfigurationError``."""
    faces = frozenset(_parts(settings.oidc_faces))
    roles = dict(map(_read_role, _parts(settings.oidc_roles)))
    if faces and not roles:
        raise ConfigurationError("FACELINE_OIDC_FACES counts with FACELINE_OIDC_ROLES only")
    return RoleRules(settings.oidc_role_claim, roles, faces) if roles else None


def _read_role(rule: str) -> tuple[str, OperatorRole]:
    value, _, role = rule.rpartition("=")
    try:
        return value.strip(), OperatorRole(role.strip())
    except ValueError as error:
        known = ", ".join(OperatorRole)
        raise ConfigurationError(
            f"FACELINE_OIDC_ROLES: {rule!r} is not VALUE=ROLE with one of the roles {known}"
        ) from error


def _parts(text: str) -> list[str]:
    return [each.strip() for each in text.split(";") if each.strip()]


class ExternalAccounts:
    """The accounts that sign in at one identity provider. All methods raise
    ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, store: OperatorStore, issuer: str) -> None:
        self._engine = engine
        self._store = store
        self._issuer = issuer

    def create(self, name: str, role: OperatorRole, *, sees_faces: bool) -> Operator:
        """A new account of whoever the provider calls so. Raises as ``OperatorStore.create``."""
        return self._store.create(
            name, role, sees_faces=sees_faces, identity=_awaited(self._issuer, name)
        )

    def expect(self, name: str) -> Operator:
        """Let an account sign in at the provider only, and whoever the provider calls so next:
        its password, sessions and links end. Raises ``OperatorNotFound``."""
        found = self._store.by_name(name)
        change = update(operators).where(operators.c.id == found.id)
        with writing(self._engine, durable=True) as connection:
            connection.execute(change.values(
                identity=_awaited(self._issuer, name), password=None, totp_secret=None,
                totp_step=None,
            ))
            end_sign_ins(connection, found.id, programs=False)
        return self._store.by_name(name)

    def find(self, identity: Identity) -> Operator | None:
        """The account that this person has signed in to before."""
        query = select(*OPERATOR_COLUMNS).where(operators.c.identity == _known(identity))
        row = read_row(self._engine, query)
        return read_operator(row) if row else None

    def admit(self, identity: Identity, *, creates: bool) -> Operator:
        """The person's account, which is found by issuer and subject. At first it is the one
        that awaits the name, or, with ``creates``, a new one; never one that signs in by other
        means. Raises ``IdentityRefused``, and ``InvalidParameter`` for the name of a new one."""
        found = self.find(identity) or self._bind(identity)
        if found is None:
            found = self._make(identity, creates=creates)
        if found.disabled_at is not None:
            raise IdentityRefused(DISABLED)
        if identity.is_ruled and identity.role is None:
            self.shut_out(found)
            raise IdentityRefused(NO_ROLE)
        return found

    def shut_out(self, operator: Operator) -> None:
        """End an account's sessions and links, and the tokens of its programs."""
        with writing(self._engine, durable=True) as connection:
            end_sign_ins(connection, operator.id, programs=True)

    def _bind(self, identity: Identity) -> Operator | None:
        awaited = _awaited(identity.issuer, identity.name)
        bound = update(operators).where(operators.c.identity == awaited)
        with writing(self._engine, durable=True) as connection:
            connection.execute(bound.values(identity=_known(identity)))
        return self.find(identity)

    def _make(self, identity: Identity, *, creates: bool) -> Operator:
        if self._store.find(identity.name) is None:
            if not creates:
                raise IdentityRefused(UNKNOWN)
            if identity.is_ruled and identity.role is None:
                raise IdentityRefused(NO_ROLE)
            with suppress(OperatorExists):
                return self._store.create(
                    identity.name, identity.role or OperatorRole.VIEWER,
                    sees_faces=identity.sees_faces, identity=_known(identity),
                )
        # Another request of the same person may have made it meanwhile.
        found = self.find(identity)
        if found is None:
            raise IdentityRefused(LOCAL_NAME)
        return found


def _known(identity: Identity) -> str:
    """How the database knows a person: by issuer and subject."""
    return digest("subject", identity.issuer, identity.subject)


def _awaited(issuer: str, name: str) -> str:
    """How the database knows who has not signed in yet: by issuer and name."""
    return digest("name", issuer, name)
