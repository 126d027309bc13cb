"""Rates, quotas and permitted operations of an application.

Pure values, stored as JSON with the tenant or the credential they apply to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import msgspec

from pipeline.types import JsonObject

# The name under which limits for all operations together are stored.
ALL_OPERATIONS = "*"


LEAST: Mapping[str, float] = {"per_second": 0.001, "burst": 1, "daily": 0, "monthly": 0}
"""The least that each member of a limit may be."""


def is_limit(member: str, value: float) -> bool:
    """Whether a member of ``Limit`` may be ``value``."""
    return LEAST[member] <= value < 10**15


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of an operation or of the whole application; None means no limit.

    ``per_second``: requests on average, with at most ``burst`` at once. ``daily`` and
    ``monthly``: charged calls of a calendar day and month in UTC.
    """

    per_second: float | None = None
    burst: int | None = None
    daily: int | None = None
    monthly: int | None = None

    @property
    def effective_burst(self) -> int:
        """The burst; by default the requests of one second."""
        return self.burst or max(1, math.ceil(self.per_second or 1))

    @property
    def quotas(self) -> tuple[int | None, int | None]:
        """(daily, monthly)."""
        return self.daily, self.monthly


Limits = Mapping[str, Limit]
"""By operation; ``ALL_OPERATIONS`` is the entry for all of them together."""


def limits_from_json(kept: JsonObject | None) -> Limits:
    """Limits as stored in a tenant's row."""
    return msgspec.convert(kept or {}, dict[str, Limit])


def limits_to_json(limits: Limits) -> JsonObject:
    """Limits for a tenant's row, without empty ones."""
    kept: JsonObject = msgspec.to_builtins(dict(limits))
    return {operation: limit for operation, limit in kept.items() if limit}


def limits_for(limits: Limits, operation: str) -> list[tuple[str, Limit]]:
    """The limits that apply to a call of ``operation``, the application's own first."""
    return [(name, limits[name]) for name in (ALL_OPERATIONS, operation) if name in limits]


class Permissions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The permitted operations: ``only`` these, unless it is None, and ``never`` those."""

    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()

    def permits(self, operation: str) -> bool:
        return operation not in self.never and (self.only is None or operation in self.only)

    def allow(self, *operations: str) -> Self:
        """These permissions with ``operations`` permitted."""
        never = tuple(name for name in self.never if name not in operations)
        only = None if self.only is None else tuple(sorted({*self.only, *operations}))
        return type(self)(only=only, never=never)

    def deny(self, *operations: str) -> Self:
        """These permissions without ``operations``."""
        if self.only is not None:
            left = tuple(name for name in self.only if name not in operations)
            return type(self)(only=left, never=self.never)
        return type(self)(never=tuple(sorted({*self.never, *operations})))


ALLOW_ALL = Permissions()
ALLOW_NONE = Permissions(only=())


def permissions_from_json(kept: JsonObject | None) -> Permissions:
    """Permissions as stored in a row."""
    return msgspec.convert(kept or {}, Permissions)
