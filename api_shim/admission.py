"""Admission control: permissions, rates and quotas are checked in this order, once the
caller is authenticated and before a picture is inspected. Admitted requests are counted.

A job is charged when it is recorded (``JobStore.submit``); admission only checks that the
quota is not used up. An operation on records is charged here if it has a quota. All other
counts, refusals included, are collected in memory and written a second later, so that a
refused request costs no write.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from api_shim.rate_limiter import RateLimiter
from api_shim.requests import Call
from pipeline import errors
from pipeline.accounts.model import Tenant
from pipeline.database.clock import Clock, database_clock
from pipeline.errors import FaceError
from pipeline.jobs.model import Job, SignedRequest
from pipeline.jobs.store import JobStore
from pipeline.metering.costs import FREE_OPERATIONS, Cost, cost_of_error, cost_of_success
from pipeline.metering.limits import Limit, limits_for
from pipeline.metering.usage import Counts, UsageStore, day_of, has_quota
from pipeline.metrics.catalogue import REFUSALS
from pipeline.operations import PLANS
from pipeline.periodic import Ticker

logger = logging.getLogger(__name__)

# Seconds between two writes of the counts. A process that is killed loses the last ones.
FLUSH_INTERVAL_S = 1.0

# Seconds that a stopping process waits for a write in progress.
CLOSE_S = 5.0


class AdmissionControl:
    """One per process; thread-safe. ``clock`` returns epoch seconds, None: the database's;
    ``show_tenants``: the metrics name applications."""

    def __init__(
        self, usage: UsageStore, jobs: JobStore, rate_limiter: RateLimiter,
        clock: Clock | None = None, *, show_tenants: bool = False,
    ) -> None:
        self.usage = usage
        self.show_tenants = show_tenants
        self.jobs = jobs
        self.rate_limiter = rate_limiter
        self._clock = database_clock(usage.engine, clock)
        self._pending: dict[tuple[int, str, str], Counts] = {}
        self._lock = threading.Lock()
        self._flusher = Ticker("usage", FLUSH_INTERVAL_S, self.flush)

    def begin(self, operation: str, call: Call, free: frozenset[str] = frozenset()) -> Admission:
        """The admission of a request for ``operation``, before the caller is known. The
        operations in ``free`` cost nothing when they succeed."""
        return Admission(self, operation, call, free)

    def count(self, tenant_id: int, operation: str, counts: Counts) -> None:
        """Add to the counts that are written later."""
        key = (tenant_id, operation, day_of(self._clock()))
        with self._lock:
            self._pending[key] = self._pending.get(key, Counts()).plus(counts)

    def flush(self) -> None:
        """Write the counts. Raises ``DatabaseUnavailable`` and then keeps them."""
        with self._lock:
            counted, self._pending = self._pending, {}
        if not counted:
            return
        try:
            self.usage.add(counted)
        except errors.DatabaseUnavailable:
            with self._lock:
                for key, counts in counted.items():
                    self._pending[key] = self._pending.get(key, Counts()).plus(counts)
            raise

    def start(self) -> None:
        """Write the counts periodically until ``close``."""
        self._flusher.start()

    def close(self) -> None:
        """Write the last counts."""
        self._flusher.close(CLOSE_S)
        try:
            self.flush()
        except errors.DatabaseUnavailable as error:
            logger.warning(
                "The last usage counts are lost: %s", error, extra={"action": "usage_lost"}
            )
        self.rate_limiter.close()


@dataclass(slots=True)
class Admission:
    """The admission of one request: a context manager that counts the request by its
    outcome when it exits. ``tenant`` is the one that was admitted last."""

    _control: AdmissionControl
    _operation: str
    _call: Call
    _free: frozenset[str]
    tenant: Tenant | None = None
    _charged_on: str | None = None
    _is_job: bool = False

    def admit(
        self, tenant: Tenant, operation: str | None = None, once: SignedRequest | None = None
    ) -> Job | None:
        """Admit ``tenant``. ``operation`` replaces the one that the path determined. Returns the
        job that the signed request ``once`` repeats. Repetitions meet no limits.

        Raises ``NotPermitted``, ``RateLimited``, ``QuotaExceeded``, ``DatabaseUnavailable``.
        """
        self.tenant = tenant
        self._operation = operation or self._operation
        self._call.labels.tenant, self._call.labels.operation = tenant.name, self._operation
        if not tenant.permits(self._operation):
            raise errors.NotPermitted(f"The application may not use {self._operation}.")
        earlier = self._signed_earlier(tenant, once)
        limits = limits_for(tenant.limits, self._operation)
        if earlier is not None or not limits or self._is_repeat(tenant):
            return earlier
        try:
            self._enforce(tenant, limits)
        except errors.LimitReached:
            # A copy of the request may have used up the limit since.
            earlier = self._signed_earlier(tenant, once)
            if earlier is None and not self._is_repeat(tenant):
                raise
        return earlier

    def mark_as_job(self) -> None:
        """The request became a job, whose end is charged separately."""
        self._is_job = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self.tenant is None or self._is_job:
            return
        if isinstance(error, (errors.LimitReached, errors.NotPermitted)):
            shown = self.tenant.name if self._control.show_tenants else ""
            REFUSALS.add(error.code, shown)
            self._control.count(self.tenant.id, self._operation, Counts(refused=1))
        else:
            self._count(self.tenant, self._cost(error))

    def _signed_earlier(self, tenant: Tenant, once: SignedRequest | None) -> Job | None:
        if once is None or not once.answered:
            return None
        earlier = self._control.jobs.read.by_signature(tenant.id, once)
        # Another operation is refused when the job is recorded.
        return earlier if earlier is not None and earlier.operation == self._operation else None

    def _is_repeat(self, tenant: Tenant) -> bool:
        """Whether the request repeats an idempotency key: its job was admitted before."""
        if self._operation not in PLANS:
            return False
        try:
            key = self._call.idempotency_key
        except errors.InvalidParameter:
            return False
        read = self._control.jobs.read
        return key is not None and read.by_idempotency_key(tenant.id, key) is not None

    def _enforce(self, tenant: Tenant, limits: Sequence[tuple[str, Limit]]) -> None:
        rates = [(name, limit) for name, limit in limits if limit.per_second is not None]
        wait_s = self._control.rate_limiter.take(tenant.id, rates) if rates else 0.0
        if wait_s > 0:
            raise errors.RateLimited(retry_after_s=wait_s)
        self._enforce_quota(tenant)

    def _enforce_quota(self, tenant: Tenant) -> None:
        if self._operation in FREE_OPERATIONS or not has_quota(tenant.limits, self._operation):
            return
        usage = self._control.usage
        if self._operation in PLANS:
            usage.check(tenant.id, self._operation, tenant.limits)
        else:
            self._charged_on = usage.charge(tenant.id, self._operation, tenant.limits)

    def _cost(self, error: BaseException | None) -> Cost:
        if error is None:
            return cost_of_success(self._operation, free=self._operation in self._free)
        return cost_of_error(error.code if isinstance(error, FaceError) else FaceError.code)

    def _count(self, tenant: Tenant, cost: Cost) -> None:
        if self._charged_on is not None:
            # Without the database the request itself has failed, too.
            with suppress(errors.DatabaseUnavailable):
                self._control.usage.settle(tenant.id, self._operation, self._charged_on, cost)
        elif cost is not Cost.REFUNDED:
            counts = Counts(charged=1) if cost is Cost.CHARGED else Counts(free=1)
            self._control.count(tenant.id, self._operation, counts)
