"""Who calls: the values that tenants and their credentials are read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping

from pipeline.metering.limits import (
    ALLOW_ALL,
    Limits,
    Permissions,
    limits_from_json,
    permissions_from_json,
)
from pipeline.types import JsonObject

TenantSettings = dict[str, Any]  # JSON


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application. ``settings`` are its own choices, for instance
    ``{"e_locations": "left_top"}``; ``picture_limits`` and ``permissions`` the operator's, the
    latter with those of the credential that was shown."""

    id: int
    name: str
    settings: TenantSettings
    disabled: bool
    limits: Limits = field(default_factory=dict)
    permissions: tuple[Permissions, ...] = ()

    def permits(self, operation: str) -> bool:
        """Whether the operation is open to it."""
        return all(permissions.permits(operation) for permissions in self.permissions)


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """What verifies a signature: the shared secret and, for SM2, the caller's public key
    (hex of x||y, 128 digits)."""

    app_secret: str = field(repr=False)
    sm2_public_key: str | None


@dataclass(frozen=True, slots=True)
class SignedCredential:
    """What verifies a signed request. After a rotation the ``former`` secret is as good
    as the new one for a while."""

    tenant: Tenant
    app_id: str
    app_secret: str = field(repr=False)
    sm2_public_key: str | None
    former: SharedSecret | None = None

    def secrets(self) -> tuple[SharedSecret, ...]:
        """The live secrets, the newest first; whoever verifies tries each of them, so
        that the time does not tell which was right."""
        newest = SharedSecret(self.app_secret, self.sm2_public_key)
        return (newest,) if self.former is None else (newest, self.former)


@dataclass(frozen=True, slots=True)
class CredentialEntry:
    """A credential as an operator sees it; ``expires_at`` is an epoch second, None for
    one that does not expire."""

    kind: str
    public_id: str
    expires_at: float | None
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class IssuedSigned:
    """A fresh credential, shown once."""

    app_id: str
    app_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedApid:
    """A fresh credential, shown once."""

    apid: int
    kvalue: str = field(repr=False)


def tenant_from_row(row: RowMapping, restricted: JsonObject | None = None) -> Tenant:
    """The tenant in a row, as whoever shows a credential with these permissions."""
    kept = [permissions_from_json(row["permissions"]), permissions_from_json(restricted)]
    return Tenant(
        id=row["id"], name=row["name"], settings=row["settings"], disabled=row["disabled"],
        limits=limits_from_json(row["limits"]),
        permissions=tuple(each for each in kept if each != ALLOW_ALL),
    )
