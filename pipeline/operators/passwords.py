"""Passwords as Argon2id (RFC 9106), and time-based one-time codes (RFC 6238)."""

from __future__ import annotations

import binascii
import hmac
import threading
from functools import cache

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from pipeline.errors import InvalidParameter

# Characters. NIST SP 800-63B asks for 15 where the password is the only factor and lets 8 pass
# beside others; it refuses rules about kinds of characters.
MIN_PASSWORD, MAX_PASSWORD = 12, 256

# RFC 9106's second recommended choice, in one thread: 64 MiB and about 0.1 s.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)

# Two at a time, so that many who sign in at once take neither the memory nor all cores.
_TURN = threading.Semaphore(2)

STEP_S = 30
"""Seconds of one code."""

ISSUER = "faceline"


def hash_password(password: str, name: str) -> str:
    """A password as it is kept. Raises ``InvalidParameter`` for one that is too short, too long,
    or the account's name."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidParameter(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if name.casefold() in password.casefold() and len(password) < len(name) + MIN_PASSWORD // 2:
        raise InvalidParameter("a password must not be made of the name")
    if len(set(password)) < MIN_PASSWORD // 3:
        raise InvalidParameter("a password must not repeat a few characters")
    with _TURN:
        return _HASHER.hash(password)


def is_password(kept: str | None, password: str) -> bool:
    """Whether a password is the one that is kept. It takes as long where none is."""
    with _TURN:
        try:
            _HASHER.verify(kept or _dummy(), password[: MAX_PASSWORD + 1])
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether a kept password was hashed with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _dummy() -> str:
    return _HASHER.hash("of an account that is not there")


def new_secret() -> str:
    """The secret of one-time codes: 160 random bits in Base32."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, name: str) -> str:
    """What an app for one-time codes reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def code_step(secret: str, code: str, now: float, after: int | None) -> int | None:
    """The step of a code, counted from the epoch: the present one or a neighbour, for clocks
    that differ, and later than ``after``. None for any other code. Raises ``InvalidParameter``
    for a secret that is none."""
    given = "".join(code.split()).encode()
    try:
        codes = pyotp.TOTP(secret, interval=STEP_S)
        present = int(now // STEP_S)
        for step in (present - 1, present, present + 1):
            if hmac.compare_digest(codes.generate_otp(step).encode(), given):
                return None if after is not None and step <= after else step
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter("that is no secret of one-time codes") from error
    return None
