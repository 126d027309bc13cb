"""Applications: what there is, making, disabling and deleting one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.auth.issuing import check_sm2, issue
from api_shim.dialects.choices import read_choices
from pipeline.accounts.credential_set import KINDS_BY_NAME
from pipeline.accounts.deletion import delete_tenant
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantSummary
from pipeline.encryption.data_keys import KeyState
from pipeline.errors import InvalidParameter, NotFound, TenantNotFound
from pipeline.metering.usage import Counts
from pipeline.operators.model import OperatorRole

KindName = Literal["signed", "key", "number", "id_secret"]
"""A kind of credentials: document e's, that of b and d (and of polls), a's, c's."""

DEFAULT_KINDS: tuple[KindName, ...] = ("signed", "key", "number", "id_secret")

Sm2Key = Annotated[str, msgspec.Meta(max_length=130)]


class ApplicationsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which applications to list: those with numbers above ``after``."""

    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class ApplicationItem(msgspec.Struct, frozen=True, kw_only=True):
    """An application. ``created_at``: epoch seconds; ``encrypted`` is ``on``, ``converting`` or
    ``destroyed`` where its data are encrypted under a key of its own, else empty; calls are those
    of today (UTC): accepted, and refused by a limit or a permission."""

    name: str
    number: int
    disabled: bool
    encrypted: str
    created_at: float
    faces: int
    calls_today: int
    refused_today: int


class ApplicationList(msgspec.Struct, frozen=True):
    """Applications, oldest first. ``next`` is the ``after`` of the next page."""

    applications: list[ApplicationItem]
    next: int | None


class NamedApplication(msgspec.Struct, frozen=True):
    """An application by its name."""

    application: str


class NewApplication(msgspec.Struct, frozen=True, kw_only=True):
    """An application to make. ``encrypted``: under a key of its own; null: as the service is set.
    ``kinds`` are the credentials that it gets at once; ``sm2`` adds an SM2 key pair to the signed
    one, ``sm2_public_key`` the caller's own key (128 hex digits, x then y)."""

    application: str
    encrypted: bool | None = None
    kinds: tuple[KindName, ...] = DEFAULT_KINDS
    sm2: bool = False
    sm2_public_key: Sm2Key = ""
    profile: str = ""
    settings: dict[str, str] = {}


class IssuedCredentials(msgspec.Struct, frozen=True):
    """Fresh credentials by their names: ``app_id``, ``app_secret``, ``api_key``, ``apid``,
    ``kvalue``, ``api_id``, ``api_secret``, ``sm2_private_key``, ``sm2_public_key``. Secrets are
    never given again."""

    application: str
    credentials: dict[str, str | int]


class ApplicationSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every call of an application is refused; its data stay."""

    application: str
    disabled: bool = True


class ApplicationDeletion(msgspec.Struct, frozen=True, kw_only=True):
    """Deletes an application if ``confirm`` is its name once more."""

    application: str
    confirm: str


class DeletionReceiptId(msgspec.Struct, frozen=True):
    """The receipt of a deletion: it is signed once no store holds anything."""

    receipt: str


def list_applications(
    services: AdminServices, _actor: Actor, given: ApplicationsQuery
) -> ApplicationList:
    found = services.service.tenants.page(given.after, given.limit)
    items = _items(services, found)
    return ApplicationList(items, items[-1].number if len(items) == given.limit else None)


def show_application(
    services: AdminServices, _actor: Actor, given: NamedApplication
) -> ApplicationItem:
    tenant = services.tenant(given.application)
    return _items(services, [services.service.tenants.summary(tenant.id)])[0]


def create_application(
    services: AdminServices, _actor: Actor, given: NewApplication
) -> IssuedCredentials:
    public_key = given.sm2_public_key.strip() or None
    check_sm2(given.sm2, public_key)
    choices = read_choices(given.profile or None, given.settings)
    service, encrypted = services.service, given.encrypted
    if encrypted is None:
        encrypted = service.settings.encrypt_at_rest
    tenant = service.tenants.create(given.application, choices, encrypted=encrypted)
    issued = issue(
        service.tenants.credentials, tenant.id, [KINDS_BY_NAME[kind] for kind in given.kinds],
        make_sm2=given.sm2, sm2_public_key=public_key,
    )
    return IssuedCredentials(tenant.name, issued.members())


def switch_application(
    services: AdminServices, _actor: Actor, given: ApplicationSwitch
) -> ApplicationItem:
    tenant = services.tenant(given.application)
    services.service.tenants.set_disabled(tenant.id, given.disabled)
    return show_application(services, _actor, NamedApplication(tenant.name))


def delete_application(
    services: AdminServices, _actor: Actor, given: ApplicationDeletion
) -> DeletionReceiptId:
    tenant = services.tenant(given.application)
    if given.confirm != tenant.name:
        raise InvalidParameter("that is not its name; nothing was deleted")
    service = services.service
    try:
        receipt = delete_tenant(
            service.engine, service.media, tenant.id, journal=service.journal
        )
    except TenantNotFound as error:  # somebody else has deleted it meanwhile
        raise NotFound("There is no such application.") from error
    service.settings.data.delete_own_calibration(tenant.id)
    return DeletionReceiptId(receipt)


def _items(services: AdminServices, found: list[TenantSummary]) -> list[ApplicationItem]:
    service, ids = services.service, [each.tenant.id for each in found]
    faces = service.records.galleries.face_counts(ids)
    calls = service.usage.totals(service.usage.today(), ids)
    return [_item(each, faces, calls) for each in found]


def _item(
    found: TenantSummary, faces: dict[int, int], calls: dict[int, Counts]
) -> ApplicationItem:
    tenant: Tenant = found.tenant
    counts = calls.get(tenant.id, Counts())
    return ApplicationItem(
        name=tenant.name, number=tenant.id, disabled=tenant.disabled,
        encrypted=_state(found.key_state), created_at=found.created_at,
        faces=faces.get(tenant.id, 0), calls_today=counts.accepted,
        refused_today=counts.refused,
    )


def _state(state: KeyState | None) -> str:
    return "" if state is None else state.value


LIST_APPLICATIONS = AdminOperation(
    "applications.list", "GET", "/applications", "Every application.",
    OperatorRole.VIEWER, ApplicationsQuery, ApplicationList, list_applications,
)
SHOW_APPLICATION = AdminOperation(
    "applications.show", "GET", "/applications/{application}", "An application.",
    OperatorRole.VIEWER, NamedApplication, ApplicationItem, show_application,
)
CREATE_APPLICATION = AdminOperation(
    "applications.create", "POST", "/applications",
    "Make an application, and give its credentials, once.",
    OperatorRole.ADMINISTRATOR, NewApplication, IssuedCredentials, create_application,
)
DISABLE_APPLICATION = AdminOperation(
    "applications.disable", "POST", "/applications/{application}/disable",
    "Refuse every call of an application, or take its calls again.",
    OperatorRole.ADMINISTRATOR, ApplicationSwitch, ApplicationItem, switch_application,
    subject_of=lambda given: "" if given.disabled else "enabled",
)
DELETE_APPLICATION = AdminOperation(
    "applications.delete", "DELETE", "/applications/{application}",
    "Delete an application: credentials, jobs, faces, pictures. This cannot be undone.",
    OperatorRole.ADMINISTRATOR, ApplicationDeletion, DeletionReceiptId, delete_application,
)

OPERATIONS = (
    LIST_APPLICATIONS, SHOW_APPLICATION, CREATE_APPLICATION, DISABLE_APPLICATION,
    DELETE_APPLICATION,
)
