"""An application's credentials, and how each kind goes into a request."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from faceline_client.errors import CredentialMissing


class Access(Enum):
    """The kind of credential that a call takes. Each document of the service has its own; one
    application can have all, and they open the same gallery."""

    NONE = "no credential"
    API_KEY = "api_key"
    NUMBER = "apid and kvalue"
    PAIR = "api_id and api_secret"
    SIGNED = "app_id and app_secret"
    HEADER = "api_key, or an id with its secret,"
    ANY = "any credential"


# The names in docs/api.md, which `faceline up --demo` prints.
VARIABLES = {
    "api_key": "FACE_API_KEY", "apid": "FACE_APID", "kvalue": "FACE_KVALUE",
    "api_id": "FACE_API_ID", "api_secret": "FACE_API_SECRET",
    "app_id": "FACE_APP_ID", "app_secret": "FACE_APP_SECRET",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `faceline apps create` issues; give those that your calls need.

    | credential | opens |
    |---|---|
    | ``api_key`` | enrolment, galleries, compare, search, people, batches |
    | ``apid``, ``kvalue`` | detection, similarities, matches, liveness |
    | ``api_id``, ``api_secret`` | every face of a picture with every face of another |
    | ``app_id``, ``app_secret`` | verification, features |

    Each of them reads and cancels the application's jobs. Secrets are in no ``repr``.
    """

    api_key: str = field(default="", repr=False)
    apid: int | str = ""
    kvalue: str = field(default="", repr=False)
    api_id: str = ""
    api_secret: str = field(default="", repr=False)
    app_id: str = ""
    app_secret: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """From the variables ``FACE_API_KEY``, ``FACE_APID``, ``FACE_KVALUE``,
        ``FACE_API_ID``, ``FACE_API_SECRET``, ``FACE_APP_ID`` and ``FACE_APP_SECRET``."""
        return cls(**{name: environment.get(each, "") for name, each in VARIABLES.items()})

    def headers(self, access: Access) -> dict[str, str]:
        """The headers that carry the credential; empty for those that go into the body.
        Raises ``CredentialMissing``."""
        if access is Access.API_KEY:
            self._require(access, self.api_key)
            return {"X-API-Key": self.api_key}
        if access is Access.PAIR:
            self._require(access, self.api_id, self.api_secret)
            return _basic(self.api_id, self.api_secret)
        if access is Access.HEADER:
            self._require(access, self._any_headers())
        return self._any_headers() if access in (Access.HEADER, Access.ANY) else {}

    def body(self, access: Access, fields: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """``fields`` with the credential that goes into the body. Raises
        ``CredentialMissing``."""
        if access is Access.NUMBER:
            self._require(access, self.apid, self.kvalue)
            return {"Apid": str(self.apid), "Kvalue": self.kvalue, **fields}
        if access is Access.SIGNED:
            self._require(access, self.app_id, self.app_secret)
            return sign(self.app_id, self.app_secret, fields, nonce, int(time.time()))
        if access is Access.ANY and not self._any_headers():
            return self.body(Access.NUMBER, fields, nonce)
        return fields

    def _any_headers(self) -> dict[str, str]:
        if self.api_key:
            return {"X-API-Key": self.api_key}
        if self.app_id and self.app_secret:
            return _basic(self.app_id, self.app_secret)
        if self.api_id and self.api_secret:
            return _basic(self.api_id, self.api_secret)
        return {}

    def _require(self, access: Access, *values: object) -> None:
        if not all(values):
            raise CredentialMissing(f"This call needs {access.value} of the application.")


def _basic(name: str, secret: str) -> dict[str, str]:
    pair = base64.b64encode(f"{name}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def sign(
    app_id: str, secret: str, data: Mapping[str, Any], nonce: str, now: int
) -> dict[str, Any]:
    """A request of /face2 around ``data``, signed with SHA256 at ``now`` (epoch seconds). Two
    requests with different ``nonce`` are two calls, also within one second."""
    request: dict[str, Any] = {
        "appId": app_id, "data": dict(data), "encType": "plain", "nonce": nonce,
        "signType": "SHA256", "timestamp": now, "version": "1",
    }
    compact = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    pairs = [f"{name}={value}" for name, value in sorted({**request, "data": compact}.items())]
    digest = hashlib.sha256("&".join([*pairs, f"key={secret}"]).encode()).hexdigest()
    return {**request, "signData": base64.b64encode(digest.encode()).decode()}
