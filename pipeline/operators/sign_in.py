"""Checks who signs in: by password, by one-time code. Wrong ones close an account for a while."""

from __future__ import annotations

import math

from sqlalchemy import Engine, Update, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, writing
from pipeline.database.schema import operators
from pipeline.encryption.vault import Vault, codes_secret_owner
from pipeline.errors import BadCredentials, InvalidParameter, RateLimited, WrongCode
from pipeline.operators.model import Operator
from pipeline.operators.passwords import code_step, hash_password, is_outdated, is_password
from pipeline.operators.store import OPERATOR_COLUMNS, end_sign_ins, read_operator

# Failures that cost nothing; each one after them doubles the pause, which begins with 30 s.
FREE_FAILURES = 4
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 900.0


class SignIn:
    """``clock`` gives epoch seconds; None: the database's. All methods raise
    ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, vault: Vault, clock: Clock | None = None) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = database_clock(engine, clock)

    def by_password(self, name: str, password: str) -> Operator:
        """The account of a name and a password; an account with one-time codes needs
        ``check_code``, too. Raises ``BadCredentials``, ``RateLimited`` with the time until the
        account is looked at again."""
        query = select(*OPERATOR_COLUMNS, operators.c.password).where(operators.c.name == name)
        row = read_row(self._engine, query)
        if row is not None:
            require_open(row.locked_until, self._clock())
        kept = row.password if row is not None and row.disabled_at is None else None
        if not is_password(kept, password):
            if row is not None:
                self._count_failure(row.id)
            raise BadCredentials("The name or the password is wrong.")
        assert row is not None
        values: dict[str, object] = {} if row.has_codes else {"failures": 0, "locked_until": 0.0}
        if is_outdated(kept or ""):
            values["password"] = hash_password(password, name)
        if values:
            change_rows(self._engine, _account(row.id).values(**values))
        return read_operator(row)

    def check_code(self, operator_id: int, code: str) -> None:
        """Take a one-time code, which counts once. Raises ``WrongCode``, ``RateLimited``."""
        query = select(
            operators.c.totp_secret, operators.c.totp_step, operators.c.locked_until
        ).where(operators.c.id == operator_id)
        row = read_row(self._engine, query)
        now = self._clock()
        if row is None or row.totp_secret is None:
            raise WrongCode
        require_open(row.locked_until, now)
        secret = self._vault.decrypt_text(row.totp_secret, codes_secret_owner(operator_id))
        step = code_step(secret, code, now, row.totp_step)
        if step is None or not self._take(operator_id, step):
            self._count_failure(operator_id)
            raise WrongCode

    def _take(self, operator_id: int, step: int) -> bool:
        """Whether no code of this step, or of a later one, was taken before."""
        unused = operators.c.totp_step.is_(None) | (operators.c.totp_step < step)
        taken = _account(operator_id).where(unused)
        values = {"totp_step": step, "failures": 0, "locked_until": 0.0}
        return change_rows(self._engine, taken.values(values), durable=True) == 1

    def _count_failure(self, operator_id: int) -> None:
        with writing(self._engine, durable=True) as connection:
            counted = _account(operator_id).values(failures=operators.c.failures + 1)
            failures = connection.execute(counted.returning(operators.c.failures)).scalar_one()
            pause_s = pause_after(failures)
            if pause_s:
                connection.execute(
                    _account(operator_id).values(locked_until=self._clock() + pause_s)
                )

    # An account's own changes ------------------------------------------------------------

    def set_password(self, operator: Operator, present: str, password: str) -> None:
        """Change a password, which ends the account's sessions; ``present`` counts where there
        is one. Raises as ``confirm``, ``InvalidParameter``."""
        self.confirm(operator, present)
        if operator.is_external:
            raise InvalidParameter("this account signs in at the identity provider")
        kept = hash_password(password, operator.name)
        with writing(self._engine, durable=True) as connection:
            connection.execute(_account(operator.id).values(password=kept))
            end_sign_ins(connection, operator.id, programs=False)

    def start_codes(self, operator: Operator, present: str, secret: str, code: str) -> None:
        """Ask for one-time codes from now on; ``code`` is the first. Raises as ``confirm``,
        ``WrongCode``, ``InvalidParameter``."""
        self.confirm(operator, present)
        step = code_step(secret, code, self._clock(), None)
        if step is None:
            raise WrongCode
        kept = self._vault.encrypt(secret, codes_secret_owner(operator.id))
        change = _account(operator.id).values(totp_secret=kept, totp_step=step)
        change_rows(self._engine, change, durable=True)

    def stop_codes(self, operator: Operator, present: str) -> None:
        """Ask for no one-time codes any more. Raises as ``confirm``."""
        self.confirm(operator, present)
        change = _account(operator.id).values(totp_secret=None, totp_step=None)
        change_rows(self._engine, change, durable=True)

    def confirm(self, operator: Operator, present: str) -> None:
        """Raises ``BadCredentials`` unless ``present`` is the account's password, where it has
        one, and ``RateLimited``."""
        if operator.has_password:
            self.by_password(operator.name, present)


def pause_after(failures: int) -> float:
    """Seconds for which an account is closed after so many failures in a row."""
    if failures <= FREE_FAILURES:
        return 0.0
    return min(FIRST_PAUSE_S * 2.0 ** min(failures - FREE_FAILURES - 1, 10), LONGEST_PAUSE_S)


def require_open(locked_until: float, now: float) -> None:
    """Raises ``RateLimited``."""
    wait_s = locked_until - now
    if wait_s > 0:
        raise too_many(wait_s)


def too_many(wait_s: float) -> RateLimited:
    """The error of an attempt that comes too early."""
    seconds = math.ceil(wait_s)
    return RateLimited(
        f"Too many attempts: try again in {seconds} seconds.", retry_after_s=wait_s
    )


def _account(operator_id: int) -> Update:
    return update(operators).where(operators.c.id == operator_id)
