"""The credentials of document c: an ``api_id`` with an ``api_secret``."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from pipeline.accounts.credentials import CredentialStore
from pipeline.accounts.model import Tenant
from pipeline.errors import BadCredentials

KIND = "linkface"
ID_BYTES = 16
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class IssuedApiSecret:
    """A fresh credential, shown once."""

    api_id: str
    api_secret: str = field(repr=False)


class ApiSecretCredentials(CredentialStore):
    """Those of every tenant, beside the other kinds."""

    def issue_api_secret(self, tenant_id: int) -> IssuedApiSecret:
        """A new api_id and api_secret; of the latter only the fingerprint is kept. Raises
        ``TenantNotFound``."""
        issued = IssuedApiSecret(secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES))
        mark = self._fingerprints.fingerprint(issued.api_secret)
        self._insert(tenant_id, KIND, issued.api_id, mark, None)
        return issued

    def rotate_api_secret(self, tenant_id: int, api_id: str, keep_s: float) -> IssuedApiSecret:
        """A new api_secret for an api_id; the present one goes on for ``keep_s`` seconds.
        Raises ``CredentialNotFound``."""
        issued = IssuedApiSecret(api_id, secrets.token_hex(SECRET_BYTES))
        mark = self._fingerprints.fingerprint(issued.api_secret)
        self._replace(tenant_id, KIND, api_id, keep_s, mark, None)
        return issued

    def by_api_secret(self, api_id: str, api_secret: str) -> Tenant:
        """The tenant of a live api_id. Raises ``CredentialExpired`` when its time is over
        (only who shows the right secret learns so), else ``BadCredentials``."""
        found = self._credential(KIND, api_id)
        if found is not None and self._recognised(api_secret, found[0]):
            return found[1]
        if found is None:
            self._check_expired(KIND, api_id, api_secret)
        raise BadCredentials("wrong api_id or api_secret")
