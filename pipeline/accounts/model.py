"""Tenants and credentials as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.metering.limits import (
    ALLOW_ALL,
    Limits,
    Permissions,
    limits_from_json,
    permissions_from_json,
)
from pipeline.types import JsonObject

TenantSettings = dict[str, Any]  # JSON

CHALLENGES = "living_challenges"
"""The setting of a tenant whose liveness clips must answer a challenge."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application. ``settings`` are its own choices, which
    dialects read; ``limits`` and ``permissions`` are the operator's.
    ``permissions`` include those of the credential that the caller has shown."""

    id: int
    name: str
    settings: TenantSettings
    disabled: bool
    limits: Limits = field(default_factory=dict)
    permissions: tuple[Permissions, ...] = ()

    @property
    def must_answer_challenges(self) -> bool:
        """Whether its liveness clips are only accepted with a challenge."""
        return bool(self.settings.get(CHALLENGES))

    def permits(self, operation: str) -> bool:
        """Whether the tenant may call the operation."""
        return all(permissions.permits(operation) for permissions in self.permissions)


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A fresh credential. The secret is shown once."""

    public_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """The keys that verify a signature: the shared secret and, for SM2, the caller's public key
    (hex of x||y, 128 digits)."""

    secret: str = field(repr=False)
    sm2_public_key: str | None


@dataclass(frozen=True, slots=True)
class SigningCredential:
    """The secrets that verify a signed request. For a while after a rotation there are two
    ``secrets``, the newest first. A verifier tries all of them, so that the duration does
    not reveal which was right."""

    tenant: Tenant
    public_id: str
    secrets: tuple[SharedSecret, ...]


@dataclass(frozen=True, slots=True)
class CredentialEntry:
    """A credential as an operator sees it. Times are epoch seconds: ``expires_at`` is None when
    it does not expire, ``former_until`` when no former secret is accepted beside it.
    ``signs_sm2``: whether SM2 signatures are accepted, too."""

    kind: str
    public_id: str
    expires_at: float | None
    permissions: Permissions
    created_at: float
    signs_sm2: bool
    former_until: float | None


def tenant_from_row(row: Mapping[Any, Any], restricted: JsonObject | None = None) -> Tenant:
    """The tenant in a row of ``tenants``, for a caller whose credential has the permissions
    ``restricted``."""
    permissions = [permissions_from_json(row["permissions"]), permissions_from_json(restricted)]
    return Tenant(
        id=row["id"], name=row["name"], settings=row["settings"], disabled=row["disabled"],
        limits=limits_from_json(row["limits"]),
        permissions=tuple(each for each in permissions if each != ALLOW_ALL),
    )
