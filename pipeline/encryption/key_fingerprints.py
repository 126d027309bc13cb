"""Fingerprints of API keys and other secrets that are recognised and never read again.

A fingerprint is an HMAC with the pepper, a random value that the database holds encrypted
under the master key. The pepper outlives a change of the master key, as fingerprints cannot
be computed again. It is also the value by which a process finds out that its master key is not
the database's (``key_check``).
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterable

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import change_rows, read_values
from pipeline.database.schema import peppers
from pipeline.encryption.hashing import derive_key, fingerprint
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault

PEPPER_ID = 1  # of the only row
PEPPER_OWNER = "pepper"


class KeyFingerprints:
    """Makes and compares fingerprints; thread-safe. Methods raise ``DatabaseUnavailable``,
    and ``WrongMasterKey`` when no known master key decrypts the pepper."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._cached: bytes | None = None

    def fingerprint(self, secret: str) -> bytes:
        return fingerprint(self._pepper(), secret)

    def matches(self, secret: str, fingerprints: Iterable[bytes]) -> bool:
        """Whether ``secret`` has one of the fingerprints. All are compared, each in constant
        time, so that the duration does not reveal which."""
        mine = self.fingerprint(secret)
        results = [hmac.compare_digest(mine, kept) for kept in fingerprints]
        return any(results)

    def derived_key(self, purpose: bytes) -> bytes:
        """A key for one purpose that every copy of the database can derive, whatever the
        master key is by then."""
        return derive_key(self._pepper(), purpose)

    def _pepper(self) -> bytes:
        if self._cached is None:
            self._cached = stored_or_new_pepper(self._engine, self._vault)
        return self._cached


def stored_pepper(engine: Engine, vault: Vault) -> bytes | None:
    """The pepper; None when the database has none yet. Raises ``DatabaseUnavailable``, and
    ``WrongMasterKey`` when no known master key decrypts it."""
    query = select(peppers.c.encrypted).where(peppers.c.id == PEPPER_ID)
    found = read_values(engine, query)
    return vault.decrypt(found[0], PEPPER_OWNER) if found else None


def stored_or_new_pepper(engine: Engine, vault: Vault) -> bytes:
    """The pepper, which is made when there is none. Raises as ``stored_pepper``."""
    if (stored := stored_pepper(engine, vault)) is not None:
        return stored
    fresh = os.urandom(KEY_BYTES)
    row = {
        "id": PEPPER_ID, "encrypted": vault.encrypt(fresh, PEPPER_OWNER), "created_at": time.time()
    }
    try:
        change_rows(engine, insert(peppers).values(**row), durable=True)
    except IntegrityError:  # another process was first
        return stored_or_new_pepper(engine, vault)
    return fresh
