"""Credentials that were issued elsewhere: which of them are taken over, and which are too weak."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.accounts.kinds import API_KEY, NUMBER_AND_KEY, CredentialKind
from pipeline.errors import InvalidParameter

# Guesses that a secret must withstand, as the power of two: at a thousand guesses a second,
# hundreds of millions of years.
MIN_BITS = 64

MIN_DISTINCT = 6  # characters; sixteen random hexadecimal digits have ten

# Kinds of characters, each with the number of its members.
_ALPHABETS = (
    (re.compile("[0-9]+"), 10), (re.compile("[0-9a-f]+|[0-9A-F]+"), 16),
    (re.compile("[0-9a-z]+|[0-9A-Z]+"), 36), (re.compile("[0-9A-Za-z]+"), 62),
)
_PRINTABLE = 94

_ID = re.compile("[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile("[1-9][0-9]{0,17}")
_SECRET = re.compile("[!-~]{1,512}")
_WORDS = re.compile(
    "password|passwd|qwerty|secret|changeme|example|default|admin|test", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ImportedCredential:
    """``public_id`` is empty for an API key, whose id its store makes."""

    kind: CredentialKind
    public_id: str
    secret: str = field(repr=False)
    sm2_public_key: str | None = None


def check_imported(credential: ImportedCredential, id_name: str, secret_name: str) -> None:
    """Raises ``InvalidParameter`` with the reason for which a credential is not taken over;
    ``id_name`` and ``secret_name`` are the document's names. No message has a secret."""
    form = _NUMBER if credential.kind is NUMBER_AND_KEY else _ID
    if credential.kind is not API_KEY and form.fullmatch(credential.public_id) is None:
        wanted = (
            "a number of 1 to 18 digits without a leading zero" if form is _NUMBER
            else "1 to 64 letters, digits, _ and -"
        )
        raise InvalidParameter(f"{id_name} must be {wanted}")
    reason = weakness(credential.secret, credential.public_id)
    if reason is not None:
        raise InvalidParameter(f"{secret_name} is not taken over: {reason}")


def weakness(secret: str, public_id: str = "") -> str | None:
    """Why a secret can be guessed, or cannot be sent in a header; None for a good one."""
    if _SECRET.fullmatch(secret) is None:
        return "it must be 1 to 512 printable ASCII characters without blanks"
    alphabet = next((size for form, size in _ALPHABETS if form.fullmatch(secret)), _PRINTABLE)
    bits = len(secret) * math.log2(alphabet)
    if bits < MIN_BITS:
        least = math.ceil(MIN_BITS / math.log2(alphabet))
        return f"it is too short: of such characters it needs {least}, and has {len(secret)}"
    if len(set(secret)) < MIN_DISTINCT:
        return f"it has only {len(set(secret))} different characters"
    if secret in (secret + secret)[1:-1]:
        return "it repeats itself"
    steps = [ord(after) - ord(before) for before, after in pairwise(secret)]
    if max(steps.count(step) for step in (-1, 0, 1)) > len(steps) / 2:
        return "its characters follow one another in order"
    if public_id and public_id.lower() in secret.lower() and len(public_id) > len(secret) / 2:
        return "it holds its own id"
    left = _WORDS.sub("", secret)
    if left != secret and len(left) * math.log2(alphabet) < MIN_BITS:
        return "without the word in it, it is too short"
    return None
