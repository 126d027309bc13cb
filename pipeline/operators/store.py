"""The accounts of operators."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_row, read_rows, writing
from pipeline.database.schema import operator_sessions, operators, sign_in_links
from pipeline.errors import LastAdministrator, OperatorExists, OperatorNotFound
from pipeline.operators.model import Operator, OperatorRole, check_name

_COMPUTED = {
    "has_password": operators.c.password.is_not(None),
    "has_codes": operators.c.totp_secret.is_not(None),
    "is_external": operators.c.identity.is_not(None),
}

OPERATOR_COLUMNS = [
    _COMPUTED[each.name].label(each.name) if each.name in _COMPUTED else operators.c[each.name]
    for each in fields(Operator)
]
"""What ``read_operator`` makes an operator of."""

_ADMINISTRATORS = (
    select(operators.c.id)
    .where(operators.c.role == OperatorRole.ADMINISTRATOR.value)
    .where(operators.c.disabled_at.is_(None))
    .order_by(operators.c.id)
)


class OperatorStore:
    """The accounts of one deployment. ``clock`` gives epoch seconds; None: the database's. All
    methods raise ``DatabaseUnavailable``; those that take a name ``OperatorNotFound``."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def create(
        self, name: str, role: OperatorRole, *, sees_faces: bool, identity: str | None = None
    ) -> Operator:
        """A new account. Without ``identity``, that of an identity provider, it signs in by a
        link at first. Raises ``InvalidParameter``, ``OperatorExists``."""
        row = {
            "name": check_name(name), "role": role.value, "sees_faces": sees_faces,
            "identity": identity, "created_at": self._clock(),
        }
        try:
            with writing(self._engine, durable=True) as connection:
                connection.execute(insert(operators).values(row))
                return _one(connection, name)
        except IntegrityError as error:
            raise OperatorExists from error

    def all(self) -> list[Operator]:
        """Every account, oldest first."""
        query = select(*OPERATOR_COLUMNS).order_by(operators.c.id)
        return [read_operator(row) for row in read_rows(self._engine, query)]

    def find(self, name: str) -> Operator | None:
        row = read_row(self._engine, select(*OPERATOR_COLUMNS).where(operators.c.name == name))
        return read_operator(row) if row else None

    def by_name(self, name: str) -> Operator:
        found = self.find(name)
        if found is None:
            raise OperatorNotFound
        return found

    def change(
        self, name: str, *, role: OperatorRole | None = None, sees_faces: bool | None = None,
        disabled: bool | None = None,
    ) -> Operator:
        """Change what is given; it counts from the account's next request on. Disabling ends its
        sessions, the tokens of its programs and its links. Raises ``LastAdministrator``."""
        values: dict[str, Any] = {}
        if role is not None:
            values["role"] = role.value
        if sees_faces is not None:
            values["sees_faces"] = sees_faces
        if disabled is not None:
            values["disabled_at"] = self._clock() if disabled else None
        if not values:
            return self.by_name(name)
        with writing(self._engine, durable=True) as connection:
            # Changes that take an administrator away wait for each other.
            before = connection.execute(_ADMINISTRATORS.with_for_update()).all()
            changed = self._update(connection, name, **values)
            if before and connection.execute(_ADMINISTRATORS.limit(1)).first() is None:
                raise LastAdministrator
            if disabled:
                end_sign_ins(connection, changed.id, programs=True)
        return changed

    def reset(self, name: str) -> Operator:
        """Forget an account's password and one-time codes, or that it signs in at the identity
        provider, and end its sessions and links."""
        with writing(self._engine, durable=True) as connection:
            changed = self._update(
                connection, name, password=None, identity=None, totp_secret=None, totp_step=None,
                failures=0, locked_until=0.0,
            )
            end_sign_ins(connection, changed.id, programs=False)
        return changed

    def _update(self, connection: Connection, name: str, **values: Any) -> Operator:
        change = update(operators).where(operators.c.name == name).values(**values)
        if connection.execute(change).rowcount != 1:
            raise OperatorNotFound
        return _one(connection, name)


def _one(connection: Connection, name: str) -> Operator:
    query = select(*OPERATOR_COLUMNS).where(operators.c.name == name)
    return read_operator(connection.execute(query).one())


def end_sign_ins(connection: Connection, operator_id: int, *, programs: bool) -> None:
    """End an account's sessions and links, with ``programs`` also the tokens of its programs."""
    ended = delete(operator_sessions).where(operator_sessions.c.operator_id == operator_id)
    if not programs:
        ended = ended.where(operator_sessions.c.program.is_(None))
    connection.execute(ended)
    connection.execute(delete(sign_in_links).where(sign_in_links.c.operator_id == operator_id))


def read_operator(row: Row[*tuple[Any, ...]]) -> Operator:
    """The operator of a row with ``OPERATOR_COLUMNS``."""
    values = {name: row._mapping[name] for name in Operator.__dataclass_fields__}
    computed = {name: bool(values[name]) for name in _COMPUTED}
    return Operator(**{**values, **computed, "role": OperatorRole(values["role"])})
