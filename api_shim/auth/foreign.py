"""Reads credentials that clients already have, so that only a URL changes for them.

The text is that of a file: lines `appId=...`, `appSecret=...`, `Apid`, `Kvalue`, `api_id`,
`api_secret`, `X-API-Key`, or a JSON object of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from api_shim.auth.sm2 import parse_public_key
from pipeline.accounts.imported import ImportedCredential, check_imported
from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING
from pipeline.errors import InvalidParameter

MAX_CHARS = 64 * 1024
"""Characters of a text that are looked at."""

# The documents' names of an id and of its secret; an API key is both.
PAIRS = (
    (SIGNING, "appId", "appSecret"), (NUMBER_AND_KEY, "Apid", "Kvalue"),
    (ID_AND_SECRET, "api_id", "api_secret"), (API_KEY, "", "X-API-Key"),
)
SM2_PUBLIC_KEY = "SM2 public key"
_NAMES = [name for _, *names in PAIRS for name in names if name]

# A line of a file: NAME=VALUE, NAME: VALUE, or NAME VALUE as `apps create` prints it.
_BETWEEN = re.compile(r"\s*[=:]\s*|\s+(?=\S+$)")


def read_credentials(text: str) -> list[ImportedCredential]:
    """The credentials in ``text``. Raises ``InvalidParameter`` with the reason for
    which one cannot be used."""
    given = _by_name(_pairs(text))
    public_key = given.get(SM2_PUBLIC_KEY)
    if public_key is not None:
        parse_public_key(public_key)
    found = []
    for kind, id_name, secret_name in PAIRS:
        public_id, secret = given.get(id_name, ""), given.get(secret_name, "")
        if not public_id and not secret:
            continue
        if not secret or (id_name and not public_id):
            raise InvalidParameter(f"{id_name if secret else secret_name} is missing")
        credential = ImportedCredential(
            kind, public_id, secret, public_key if kind is SIGNING else None
        )
        check_imported(credential, id_name, secret_name)
        found.append(credential)
    if not found:
        raise InvalidParameter(f"there are no credentials: name {', '.join(_NAMES)}")
    ids = [credential.public_id for credential in found if credential.public_id]
    if len(set(ids)) < len(ids):
        raise InvalidParameter("an id must not be that of two credentials")
    if public_key is not None and found[0].kind is not SIGNING:
        raise InvalidParameter(f"{SM2_PUBLIC_KEY} belongs to an appId")
    return found


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        try:
            members = json.loads(text)
        except ValueError as error:
            raise InvalidParameter("the credentials are not JSON") from error
        return [(name, str(value)) for name, value in members.items()]
    lines = [line.strip() for line in text.splitlines()]
    return [_line(line) for line in lines if line and not line.startswith("#")]


def _line(line: str) -> tuple[str, str]:
    parts = _BETWEEN.split(line.removeprefix("export "), maxsplit=1)
    if len(parts) != 2:
        raise InvalidParameter("a line must be NAME=VALUE")
    name, value = parts
    return name, value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values by the documents' names, which may be written in any case and with other
    separators (`app_id`, `FACE_APP_ID`)."""
    known = {_folded(name): name for name in (*_NAMES, SM2_PUBLIC_KEY)}
    known["apikey"] = "X-API-Key"
    given: dict[str, str] = {}
    for name, value in pairs:
        folded = _folded(name).removeprefix("face")
        if folded == "name":
            continue  # as `apps create --json` prints it
        if folded not in known:
            raise InvalidParameter(
                f"{name!r} is no credential: there are {', '.join((*_NAMES, SM2_PUBLIC_KEY))}"
            )
        if known[folded] in given:
            raise InvalidParameter(f"{known[folded]} stands there twice")
        given[known[folded]] = value
    return given


def _folded(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
