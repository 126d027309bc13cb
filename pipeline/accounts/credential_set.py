"""The credentials of an application together, as operators and clients see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING, CredentialKind
from pipeline.accounts.model import IssuedCredential

KINDS = {
    SIGNING: "appId", API_KEY: "X-API-Key begins", NUMBER_AND_KEY: "Apid", ID_AND_SECRET: "api_id",
}
"""The kinds of an application's credentials, and what documents call their public parts."""

KINDS_BY_NAME = {kind.name: kind for kind in KINDS}

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
        """The credentials that were issued, at most one of each of ``KINDS``."""
        none = IssuedCredential("", "")
        signing, api_key, number, pair = (issued.get(kind, none) for kind in KINDS)
        return cls(
            signing.public_id, signing.secret, api_key.secret, int(number.public_id or 0),
            number.secret, pair.public_id, pair.secret, **sm2,
        )

    def members(self) -> dict[str, str | int]:
        """Those that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    def labelled(self) -> dict[str, str]:
        """Those that there are, by the documents' names for them."""
        return {LABELS.get(name, name): str(value) for name, value in self.members().items()}

    def lines(self) -> list[str]:
        """One for each, with the documents' name for it."""
        return [f"{label:<16} {value}" for label, value in self.labelled().items()]
