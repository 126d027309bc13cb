"""What an application may do: rates, quotas, and the operations that are open to it.

Pure values, kept as JSON with the tenant or the credential that they are about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import msgspec

from pipeline.types import JsonObject

# The operation under which limits of all operations together stand.
ALL_OPERATIONS = "*"


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operation, or the whole application, may use; None: any number.

    ``per_second`` requests on average, in bursts of at most ``burst`` at once;
    ``daily`` and ``monthly`` charged calls of a calendar day and month in UTC.
    """

    per_second: float | None = None
    burst: int | None = None
    daily: int | None = None
    monthly: int | None = None

    @property
    def effective_burst(self) -> int:
        """The burst, as large as a second's requests where none was chosen."""
        return self.burst or max(1, math.ceil(self.per_second or 1))

    @property
    def quotas(self) -> tuple[int | None, int | None]:
        """(daily, monthly)."""
        return self.daily, self.monthly


Limits = Mapping[str, Limit]
"""By operation; ``ALL_OPERATIONS`` stands for all of them together."""

NO_LIMITS: Limits = {}


def limits_from_json(kept: JsonObject | None) -> Limits:
    """Limits from a tenant's row."""
    return msgspec.convert(kept or {}, dict[str, Limit])


def limits_to_json(limits: Limits) -> JsonObject:
    """Limits for a tenant's row; what limits nothing is left out."""
    kept: JsonObject = msgspec.to_builtins(dict(limits))
    return {operation: limit for operation, limit in kept.items() if limit}


def limits_for(limits: Limits, operation: str) -> list[tuple[str, Limit]]:
    """Those that a call of ``operation`` must keep, the application's own first."""
    return [(name, limits[name]) for name in (ALL_OPERATIONS, operation) if name in limits]


class Permissions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The operations that are open: ``only`` these where that is not None, and ``never``
    those."""

    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()

    def permits(self, operation: str) -> bool:
        return operation not in self.never and (self.only is None or operation in self.only)

    def allow(self, *operations: str) -> Self:
        """With these open, too."""
        never = tuple(name for name in self.never if name not in operations)
        only = None if self.only is None else tuple(sorted({*self.only, *operations}))
        return type(self)(only=only, never=never)

    def deny(self, *operations: str) -> Self:
        """With these closed."""
        if self.only is not None:
            left = tuple(name for name in self.only if name not in operations)
            return type(self)(only=left, never=self.never)
        return type(self)(never=tuple(sorted({*self.never, *operations})))


ALLOW_ALL = Permissions()
ALLOW_NONE = Permissions(only=())


def permissions_from_json(kept: JsonObject | None) -> Permissions:
    """Permissions from a row."""
    return msgspec.convert(kept or {}, Permissions)
