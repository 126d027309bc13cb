"""The processor time that traces and webhooks add to a held call, measured alone.

    python -m tests.benchmarks.traces_cost --calls 4000

Between two services side by side the difference is smaller than that between two of the same kind.
This measures what is added itself. Traces: the spans of a call of document e (the request, the
worker's run, three stages, the write of the result), begun and ended as the service does, with
their encoding and sending to a collector in another process; blocks with traces on and off
alternate. Webhooks: what the end of a job writes down, in a transaction on SQLite, without a
webhook and with one.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine, writing
from pipeline.database.migrate import upgrade
from pipeline.encryption.vault import Vault
from pipeline.tracing.context import CURRENT
from pipeline.tracing.open import open_tracer
from pipeline.tracing.tracer import Tracer
from pipeline.webhooks.model import WebhookEvent
from pipeline.webhooks.outbox import announce
from pipeline.webhooks.store import WebhookStore
from tests.job_factory import add_tenant
from tests.trace_receiver import TraceReceiver

BLOCKS = 20
STAGES = ("decode", "detect", "embed")
HEADERS = [
    (b"host", b"face.example"), (b"content-type", b"application/json"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]


def traced_call(tracer: Tracer) -> None:
    """What a call does with its spans."""
    with tracer.request("POST /face2/features", HEADERS) as request:
        current = CURRENT.get()
        traceparent = None if current is None else current.traceparent
        request.set(job="0" * 32, operation="features")
        request.set(
            http__request__method="POST", http__route="/face2/features",
            http__response__status_code=200, request="0" * 46,
        )
        request.end()
    job = tracer.job("features", traceparent, job="0" * 32, stage="decode", attempt=1)
    for stage in STAGES:
        with job.active(), job.child(stage):
            pass
    job.add_child("write-back", time.time(), 0.001, together=1)
    job.end()


def cost_of_traces(settings: Settings, calls: int) -> tuple[list[float], list[float]]:
    """Processor milliseconds of a call by block: without traces, and with them."""
    without: list[float] = []
    recorded: list[float] = []
    for _ in range(BLOCKS):
        for chosen, found in ((Settings(), without), (settings, recorded)):
            tracer = open_tracer(chosen, "worker")
            traced_call(tracer)
            begun = time.process_time()
            for _ in range(calls // BLOCKS):
                traced_call(tracer)
            tracer.close()  # with the export of what is left
            found.append(1000 * (time.process_time() - begun) / (calls // BLOCKS))
    return without, recorded


@contextlib.contextmanager
def database() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'faceline.db'}", durable=False)
        upgrade(engine)
        yield engine
        engine.dispose()


def cost_of_outbox(calls: int) -> dict[str, float]:
    """Processor milliseconds of the end of a job, by what it has to write down; an empty
    transaction is not counted."""
    with database() as engine:
        tenant = add_tenant(engine, "told")
        other = add_tenant(engine, "other")
        WebhookStore(engine, Vault(bytes(range(32)))).add(tenant, "https://receiver.example/")
        data = {"job_id": "0" * 32, "operation": "features", "status": "done"}

        def end(tenant_id: int | None) -> Callable[[], None]:
            events = [] if tenant_id is None else [WebhookEvent(tenant_id, "job.done", data)]

            def write() -> None:
                with writing(engine) as connection:
                    announce(connection, events, time.time())

            return write

        works = {"": end(None), "no webhook": end(other), "one webhook": end(tenant)}
        found: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(BLOCKS):
            for name, work in works.items():
                work()
                begun = time.process_time()
                for _ in range(calls // BLOCKS):
                    work()
                found[name].append(1000 * (time.process_time() - begun) / (calls // BLOCKS))
    empty = statistics.median(found.pop(""))
    return {name: statistics.median(each) - empty for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    with contextlib.closing(TraceReceiver().start()) as collector:
        settings = Settings.model_validate(collector.settings)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            without, recorded = pool.submit(cost_of_traces, settings, options.calls).result()
        spans = len(collector.spans) / (options.calls + BLOCKS)
    print("| a call with | CPU ms | from, to (of blocks) |")
    print("|---|---|---|")
    for name, found in (("traces off", without), ("traces on", recorded)):
        print(f"| {name} | {statistics.median(found):.3f} | {min(found):.3f}, {max(found):.3f} |")
    for name, cost in cost_of_outbox(options.calls).items():
        print(f"| {name} | {cost:.3f} | |")
    print(f"\n{spans:.1f} spans of a call arrived")


if __name__ == "__main__":
    main()
