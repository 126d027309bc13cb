"""Access to jobs and batches: credentials of the tenant that owns them are required."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress

from api_shim.dialects.base import Dialect
from api_shim.requests import Call
from pipeline.accounts.kinds import ID_AND_SECRET
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.errors import (
    BadCredentials,
    BadInput,
    JobNotFound,
    RequestRefused,
    TenantNotFound,
)
from pipeline.identifiers import is_printable


def authenticate_poll(
    call: Call, job_id: str, tenants: TenantStore, dialects: Iterable[Dialect]
) -> Tenant:
    """The tenant of a poll, by ``X-API-Key``, by HTTP Basic (appId and appSecret, or api_id
    and api_secret), or by the credentials of a dialect.

    Raises ``JobNotFound`` for wrong credentials, and ``BadCredentials`` when there are none
    at all.
    """
    try:
        tenant = authenticate_by_header(call, tenants)
        for dialect in dialects:
            tenant = tenant or dialect.identify(call, job_id)
    except (BadInput, RequestRefused, TenantNotFound) as error:
        raise JobNotFound from error
    if tenant is None:
        raise JobNotFound if _has_header(call) else BadCredentials
    return tenant


def authenticate_by_header(call: Call, tenants: TenantStore) -> Tenant | None:
    """The tenant of the credentials in the headers: ``X-API-Key``, or HTTP Basic with appId
    and appSecret or api_id and api_secret. None without credentials or for a wrong password.
    Raises ``RequestRefused``, ``TenantNotFound`` for a wrong key."""
    return _by_key(call, tenants) or _by_password(call, tenants)


def _has_header(call: Call) -> bool:
    """Whether the headers carry credentials of a kind that is taken, right or wrong."""
    scheme = call.headers.get("authorization", "").partition(" ")[0]
    return bool(call.headers.get("x-api-key")) or scheme.lower() == "basic"


def _by_key(call: Call, tenants: TenantStore) -> Tenant | None:
    key = call.headers.get("x-api-key", "")
    is_key = key and key.isascii() and key.isprintable()
    return tenants.credentials.by_api_key(key) if is_key else None


def _by_password(call: Call, tenants: TenantStore) -> Tenant | None:
    if call.password is None:
        return None
    app_id, secret = call.password
    credential = tenants.credentials.signing(app_id) if is_printable(app_id) else None
    if credential is None:
        with suppress(RequestRefused, TenantNotFound):
            return tenants.credentials.authenticate(ID_AND_SECRET, app_id, secret)
        return None
    right = [
        hmac.compare_digest(secret.encode(), kept.secret.encode())
        for kept in credential.secrets
    ]
    return credential.tenant if any(right) else None
