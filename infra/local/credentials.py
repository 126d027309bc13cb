"""The credentials of an application, as operators and clients see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from infra.local.private_files import write_private
from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING, CredentialKind
from pipeline.accounts.model import IssuedCredential
from pipeline.errors import ConfigurationError

KINDS = {
    SIGNING: "appId", API_KEY: "X-API-Key begins", NUMBER_AND_KEY: "Apid", ID_AND_SECRET: "api_id",
}
"""The kinds of an application's credentials, and what documents call their public parts."""

LABELS = {
    "app_id": "appId", "app_secret": "appSecret", "api_key": "X-API-Key", "apid": "Apid",
    "kvalue": "Kvalue", "sm2_private_key": "SM2 private key", "sm2_public_key": "SM2 public key",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of an application; those that it lacks are empty."""

    app_id: str
    app_secret: str = field(repr=False)
    api_key: str = field(default="", repr=False)
    apid: int = 0
    kvalue: str = field(default="", repr=False)
    api_id: str = ""
    api_secret: str = field(default="", repr=False)
    sm2_private_key: str = field(default="", repr=False)
    sm2_public_key: str = ""

    @classmethod
    def of(cls, issued: Mapping[CredentialKind, IssuedCredential], **sm2: str) -> Self:
        """The credentials that were issued, one of each of ``KINDS``."""
        signing, api_key, number, pair = (issued[kind] for kind in KINDS)
        return cls(
            signing.public_id, signing.secret, api_key.secret, int(number.public_id),
            number.secret, pair.public_id, pair.secret, **sm2,
        )

    def members(self) -> dict[str, str | int]:
        """Those that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    def lines(self) -> list[str]:
        """One for each, with the documents' name for it."""
        return [f"{LABELS.get(name, name):<16} {value}" for name, value in self.members().items()]


def save_credentials(path: Path, credentials: Credentials) -> None:
    """Saves credentials in a file that only this user can read."""
    write_private(path, json.dumps(asdict(credentials), indent=2) + "\n")


def load_credentials(path: Path) -> Credentials | None:
    """The credentials in a file; None without a file. Raises ``ConfigurationError`` for any
    other contents."""
    try:
        return Credentials(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no credentials ({error}); remove it") from error
