"""64 clients at the edge of a quota, at two web processes: exactly the quota is served."""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from pipeline.metering.limits import ALL_OPERATIONS, Limit
from pipeline.metering.usage import UsageStore, day_of
from tests.face2_client import base64_of
from tests.stack import Stack

CLIENTS = 64

RECORDS = 1000  # the quota of a call on records ...
JOBS = 60  # ... and of one that becomes a job, which stores a picture and writes more
BEYOND = 100  # requests above it


def hammer(
    urls: list[str], number: int, call: Callable[[requests.Session, str], object]
) -> collections.Counter[object]:
    """``number`` calls by all clients as fast as they can; how often each answer came."""
    share = itertools.islice(itertools.count(), number)

    def client(index: int) -> list[object]:
        with requests.Session() as session:
            session.trust_env = False
            return [call(session, urls[index % len(urls)]) for _ in share]

    with ThreadPoolExecutor(CLIENTS) as threads:
        return collections.Counter(
            answer for answered in threads.map(client, range(CLIENTS)) for answer in answered
        )


def test_a_quota_of_a_thousand_is_exact(
    shims: tuple[Stack, list[str]], photos: Path
) -> None:
    stack, urls = shims
    caller = stack.add_tenant("edge")
    limits = {"groups": Limit(daily=RECORDS), "enrol": Limit(monthly=JOBS), ALL_OPERATIONS: Limit()}
    stack.tenants.set_limits(caller.tenant_id, limits)
    headers = {"X-API-Key": caller.api_key, "Prefer": "respond-async"}
    pictures = itertools.count()
    face = (photos / "obama.jpg").read_bytes()

    def groups(session: requests.Session, url: str) -> object:
        return session.get(f"{url}/api/faceGroups", headers=headers, timeout=60).json()["code"]

    def enrol(session: requests.Session, url: str) -> object:
        # Behind its end a JPEG may carry anything: no two pictures are the same.
        sent = face + str(next(pictures)).encode()
        answer = session.post(
            f"{url}/v1/addface", data={"img": base64_of(sent)}, headers=headers, timeout=60
        )
        return answer.status_code

    assert hammer(urls, RECORDS + BEYOND, groups) == {0: RECORDS, 104905: BEYOND}
    assert hammer(urls, JOBS + BEYOND, enrol) == {202: JOBS, 429: BEYOND}
    assert stack.jobs.read.counts() == {"queued": JOBS}
    days = {day_of(time.time() - 600), day_of(time.time())}
    charged: collections.Counter[str] = collections.Counter()
    for row in UsageStore(stack.cluster.engine).report(days, caller.tenant_id):
        charged[row.operation] += row.counts.charged
    assert charged == {"groups": RECORDS, "enrol": JOBS}
