"""All operations of ``/admin``, area by area."""

from __future__ import annotations

from typing import Any

from api_shim.admin.account import OPERATIONS as ACCOUNT
from api_shim.admin.application_credentials import OPERATIONS as CREDENTIALS
from api_shim.admin.application_limits import OPERATIONS as LIMITS
from api_shim.admin.application_settings import OPERATIONS as APPLICATION_SETTINGS
from api_shim.admin.application_webhooks import OPERATIONS as WEBHOOKS
from api_shim.admin.applications import OPERATIONS as APPLICATIONS
from api_shim.admin.audit import OPERATIONS as AUDIT
from api_shim.admin.batches import OPERATIONS as BATCHES
from api_shim.admin.calibration import OPERATIONS as CALIBRATION
from api_shim.admin.collections import OPERATIONS as COLLECTIONS
from api_shim.admin.documentation import OPERATIONS as DOCUMENTATION
from api_shim.admin.enrolment import OPERATIONS as ENROLMENT
from api_shim.admin.face_search import OPERATIONS as FACE_SEARCH
from api_shim.admin.findings import OPERATIONS as FINDINGS
from api_shim.admin.gallery import OPERATIONS as GALLERY
from api_shim.admin.index import OPERATIONS as INDEX
from api_shim.admin.jobs import OPERATIONS as JOBS
from api_shim.admin.operation import AdminOperation
from api_shim.admin.operators import OPERATIONS as OPERATORS
from api_shim.admin.overview import OPERATIONS as OVERVIEW
from api_shim.admin.packs import OPERATIONS as PACKS
from api_shim.admin.receipts import OPERATIONS as RECEIPTS
from api_shim.admin.system import OPERATIONS as SYSTEM
from api_shim.admin.try_it import OPERATIONS as TRY_IT

OPERATIONS: tuple[AdminOperation[Any, Any], ...] = (
    *OVERVIEW,
    *JOBS,
    *GALLERY,
    *COLLECTIONS,
    *ENROLMENT,
    *FACE_SEARCH,
    *RECEIPTS,
    *ACCOUNT,
    *OPERATORS,
    *AUDIT,
    *CALIBRATION,
    *DOCUMENTATION,
    *INDEX,
    *PACKS,
    *SYSTEM,
    *BATCHES,
    *TRY_IT,
    *FINDINGS,
    *APPLICATIONS,
    *CREDENTIALS,
    *LIMITS,
    *WEBHOOKS,
    *APPLICATION_SETTINGS,
)
