"""Limits while Redis is dead, and while it hangs."""

from __future__ import annotations

from pathlib import Path

from pipeline.metering.limits import ALL_OPERATIONS, Limit
from tests.dialect_callers import Caller
from tests.stack import Stack


def test_limits_hold_and_nobody_waits(tmp_path: Path, edge_models: Path, test_data: Path) -> None:
    """Calls within the limits are accepted; rates are kept by the process, quotas in SQL."""
    face = (test_data / "photos" / "obama.jpg").read_bytes()
    with Stack(tmp_path, edge_models, hold_s=0.0) as stack:
        stack.start_shim()
        for outage in (stack.redis.freeze, stack.redis.kill):
            outage()
            slow, scarce = (
                Caller("d", stack.url, stack.add_tenant(f"{outage.__name__} {number}"))
                for number in range(2)
            )
            limits = {ALL_OPERATIONS: Limit(per_second=0.001, burst=2, daily=100)}
            stack.tenants.set_limits(slow.credentials.tenant_id, limits)
            limits = {ALL_OPERATIONS: Limit(per_second=1000.0, daily=2)}
            stack.tenants.set_limits(scarce.credentials.tenant_id, limits)
            for caller, message in (
                (slow, "Too many requests in a short time."),
                (scarce, "The daily quota of all calls is used up."),
            ):
                answers = [caller.job(face) for _ in range(4)]
                assert [answer.status_code for answer in answers] == [202, 202, 429, 429]
                assert answers[-1].json() == {"status": "FAIL", "message": message}
