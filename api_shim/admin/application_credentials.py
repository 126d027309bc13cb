"""Credentials of applications: made, taken over, renewed, ended. Their secrets are given once."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.applications import IssuedCredentials, KindName, NamedApplication, Sm2Key
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.auth.foreign import MAX_CHARS, read_credentials
from api_shim.auth.issuing import KEEP_H, end_former, issue, renew, renew_one
from pipeline.accounts.credential_set import KINDS_BY_NAME
from pipeline.accounts.model import CredentialEntry
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import Permissions
from pipeline.operators.model import OperatorRole

HOUR_S = 3600.0
PublicId = Annotated[str, msgspec.Meta(max_length=64)]


class CredentialItem(msgspec.Struct, frozen=True, kw_only=True):
    """A credential without its secret: ``id`` is an appId, an Apid, an api_id, or how an API key
    begins. Times are epoch seconds; until ``former_until`` a former secret is taken as well."""

    kind: KindName
    id: str
    created_at: float
    expires_at: float | None
    expired: bool
    sm2: bool
    former_until: float | None
    operations: Permissions


class CredentialList(msgspec.Struct, frozen=True):
    """The credentials that were not revoked, oldest first."""

    credentials: list[CredentialItem]


class NewCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials to make, one of each of ``kinds``; SM2 as with a new application."""

    application: str
    kinds: tuple[KindName, ...]
    sm2: bool = False
    sm2_public_key: Sm2Key = ""


class ForeignCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials that clients have: lines ``appId=...``, ``appSecret=...``, ``Apid``, ``Kvalue``,
    ``api_id``, ``api_secret``, ``X-API-Key``, or a JSON object of them as text."""

    application: str
    text: Annotated[str, msgspec.Meta(max_length=MAX_CHARS)]


class TakenOver(msgspec.Struct, frozen=True):
    """The public ids of the credentials that were taken over."""

    ids: list[str]


class CredentialRotation(msgspec.Struct, frozen=True, kw_only=True):
    """New secrets for the newest credential of each kind, or for that with the id ``credential``;
    what there was is accepted for ``keep_h`` hours more."""

    application: str
    credential: PublicId = ""
    keep_h: Annotated[float, msgspec.Meta(ge=0, le=24 * 366)] = KEEP_H
    sm2: bool = False
    sm2_public_key: Sm2Key = ""


class EndedSecrets(msgspec.Struct, frozen=True):
    """How many secrets have ended."""

    ended: int


class NamedCredential(msgspec.Struct, frozen=True):
    """A credential by its id."""

    application: str
    credential: PublicId


class CredentialExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When a credential expires: in ``days``, at the epoch second ``at``, or, without both, not."""

    application: str
    credential: PublicId
    days: Annotated[float, msgspec.Meta(ge=0, le=36525)] | None = None
    at: Annotated[float, msgspec.Meta(ge=0, lt=10**11)] | None = None


def list_credentials(
    services: AdminServices, _actor: Actor, given: NamedApplication
) -> CredentialList:
    tenant, now = services.tenant(given.application), services.service.records.clock()
    found = services.service.tenants.credentials.entries(tenant.id)
    return CredentialList([_item(each, now) for each in found])


def create_credentials(
    services: AdminServices, _actor: Actor, given: NewCredentials
) -> IssuedCredentials:
    tenant = services.tenant(given.application)
    if not given.kinds:
        raise InvalidParameter("name a kind of credentials")
    issued = issue(
        services.service.tenants.credentials, tenant.id,
        [KINDS_BY_NAME[kind] for kind in given.kinds],
        make_sm2=given.sm2,
        sm2_public_key=given.sm2_public_key.strip() or None,
    )
    return IssuedCredentials(tenant.name, issued.members())


def import_credentials(
    services: AdminServices, _actor: Actor, given: ForeignCredentials
) -> TakenOver:
    tenant = services.tenant(given.application)
    brought = read_credentials(given.text)
    return TakenOver(services.service.tenants.credentials.take_over(tenant, brought))


def rotate_credentials(
    services: AdminServices, _actor: Actor, given: CredentialRotation
) -> IssuedCredentials:
    tenant, store = services.tenant(given.application), services.service.tenants.credentials
    public_key = given.sm2_public_key.strip() or None
    keep_s = given.keep_h * HOUR_S
    if given.credential:
        issued = renew_one(
            store, tenant.id, given.credential, keep_s, make_sm2=given.sm2,
            sm2_public_key=public_key,
        )
    else:
        kinds = [KINDS_BY_NAME[name] for name in dict(store.public_ids(tenant.id))]
        issued = renew(
            store, tenant.id, keep_s, kinds, make_sm2=given.sm2, sm2_public_key=public_key
        )
    return IssuedCredentials(tenant.name, issued.members())


def finish_rotation(
    services: AdminServices, _actor: Actor, given: NamedApplication
) -> EndedSecrets:
    tenant = services.tenant(given.application)
    return EndedSecrets(end_former(services.service.tenants.credentials, tenant.id))


def revoke_credential(
    services: AdminServices, _actor: Actor, given: NamedCredential
) -> EndedSecrets:
    tenant = services.tenant(given.application)
    services.service.tenants.credentials.revoke_one(tenant.id, given.credential)
    return EndedSecrets(1)


def expire_credential(
    services: AdminServices, actor: Actor, given: CredentialExpiry
) -> CredentialList:
    tenant, service = services.tenant(given.application), services.service
    at = given.at
    if given.days is not None:
        if at is not None:
            raise InvalidParameter("days and at exclude each other")
        at = service.records.clock() + given.days * 24 * HOUR_S
    service.tenants.credentials.expire(tenant.id, given.credential, at)
    return list_credentials(services, actor, NamedApplication(tenant.name))


def _item(entry: CredentialEntry, now: float) -> CredentialItem:
    return CredentialItem(
        kind=msgspec.convert(entry.kind, KindName), id=entry.public_id,
        created_at=entry.created_at, expires_at=entry.expires_at,
        expired=entry.expires_at is not None and entry.expires_at <= now, sm2=entry.signs_sm2,
        former_until=entry.former_until, operations=entry.permissions,
    )


_APPLICATION = "/applications/{application}"
_OF_APPLICATION = f"{_APPLICATION}/credentials"

LIST_CREDENTIALS = AdminOperation(
    "credentials.list", "GET", _OF_APPLICATION, "An application's credentials, without secrets.",
    OperatorRole.VIEWER, NamedApplication, CredentialList, list_credentials,
)
CREATE_CREDENTIALS = AdminOperation(
    "credentials.create", "POST", _OF_APPLICATION,
    "Make credentials for an application, and give them, once.",
    OperatorRole.ADMINISTRATOR, NewCredentials, IssuedCredentials, create_credentials,
    subject_of=lambda given: ", ".join(given.kinds),
)
IMPORT_CREDENTIALS = AdminOperation(
    "credentials.import", "POST", f"{_APPLICATION}/import",
    "Take over credentials that were issued elsewhere: all of them, or none.",
    OperatorRole.ADMINISTRATOR, ForeignCredentials, TakenOver, import_credentials,
)
ROTATE_CREDENTIALS = AdminOperation(
    "credentials.rotate", "POST", f"{_APPLICATION}/rotate",
    "Make new secrets, beside which the former ones are accepted for a while.",
    OperatorRole.ADMINISTRATOR, CredentialRotation, IssuedCredentials, rotate_credentials,
    subject_of=lambda given: given.credential,
)
FINISH_ROTATION = AdminOperation(
    "credentials.finish", "POST", f"{_APPLICATION}/finish-rotation",
    "End all secrets but the newest of each kind.",
    OperatorRole.ADMINISTRATOR, NamedApplication, EndedSecrets, finish_rotation,
)
EXPIRE_CREDENTIAL = AdminOperation(
    "credentials.expire", "POST", f"{_OF_APPLICATION}/{{credential}}/expire",
    "Let a credential expire, or not any more.",
    OperatorRole.ADMINISTRATOR, CredentialExpiry, CredentialList, expire_credential,
    subject_of=lambda given: given.credential,
)
REVOKE_CREDENTIAL = AdminOperation(
    "credentials.revoke", "DELETE", f"{_OF_APPLICATION}/{{credential}}",
    "End a credential at once, with its former secret.",
    OperatorRole.ADMINISTRATOR, NamedCredential, EndedSecrets, revoke_credential,
    subject_of=lambda given: given.credential,
)

OPERATIONS = (
    LIST_CREDENTIALS, CREATE_CREDENTIALS, IMPORT_CREDENTIALS, ROTATE_CREDENTIALS, FINISH_ROTATION,
    EXPIRE_CREDENTIAL, REVOKE_CREDENTIAL,
)
