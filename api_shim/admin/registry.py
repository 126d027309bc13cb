"""All operations of ``/admin``, area by area."""

from __future__ import annotations

from typing import Any

from api_shim.admin.audit import OPERATIONS as AUDIT
from api_shim.admin.batches import OPERATIONS as BATCHES
from api_shim.admin.documentation import OPERATIONS as DOCUMENTATION
from api_shim.admin.operation import AdminOperation
from api_shim.admin.system import OPERATIONS as SYSTEM
from api_shim.admin.try_it import OPERATIONS as TRY_IT

OPERATIONS: tuple[AdminOperation[Any, Any], ...] = (
    *AUDIT,
    *DOCUMENTATION,
    *SYSTEM,
    *BATCHES,
    *TRY_IT,
)
