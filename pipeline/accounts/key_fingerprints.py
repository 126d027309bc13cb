"""The pepper of fingerprints: a random value that lies sealed in the database.

It is no master key, so that keys and Kvalues, which cannot be read again, are recognised
whatever becomes of the master key.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterable

from sqlalchemy import Connection, Engine, exists, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, peppers
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault, fingerprint

PEPPER_ID = 1  # the one row
PEPPER_OWNER = "pepper"

FINGERPRINTED = ("key", "apid", "linkface")
"""Kinds of credentials of which only a fingerprint is kept."""


class KeyFingerprints:
    """Makes and recognises fingerprints; thread-safe. Methods raise
    ``DatabaseUnavailable``, and ``ConfigurationError`` when the master key is not the one
    that the pepper was sealed under."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._value: bytes | None = None

    def fingerprint(self, secret: str) -> bytes:
        return fingerprint(self._known(), secret)

    def matches(self, secret: str, fingerprints: Iterable[bytes]) -> bool:
        """Whether one of them is that of ``secret``; each is compared, in constant time,
        so that it does not show which."""
        mine = self.fingerprint(secret)
        right = [hmac.compare_digest(mine, kept) for kept in fingerprints]
        return any(right)

    def make(self) -> None:
        """Make the pepper when there is none: before a new master key is used, as the
        first pepper may hang on the old one."""
        self._known()

    def _known(self) -> bytes:
        if self._value is None:
            self._value = self._stored() or self._made()
        return self._value

    def _stored(self) -> bytes | None:
        with reading(self._engine) as connection:
            sealed = connection.execute(
                select(peppers.c.sealed).where(peppers.c.id == PEPPER_ID)
            ).scalar_one_or_none()
        return None if sealed is None else self._vault.decrypt(sealed, PEPPER_OWNER)

    def _made(self) -> bytes:
        try:
            with writing(self._engine) as connection:
                fresh = self._first(connection)
                connection.execute(
                    insert(peppers).values(
                        id=PEPPER_ID,
                        sealed=self._vault.encrypt(fresh, PEPPER_OWNER),
                        created_at=time.time(),
                    )
                )
        except IntegrityError:  # another process was first
            return self._stored() or self._made()
        return fresh

    def _first(self, connection: Connection) -> bytes:
        """Fingerprints of before this table hang on the master key of that time."""
        there = exists().where(credentials.c.kind.in_(FINGERPRINTED))
        if connection.execute(select(there)).scalar_one():
            return self._vault.first_pepper()
        return os.urandom(KEY_BYTES)
