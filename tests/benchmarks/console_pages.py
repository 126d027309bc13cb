"""The time that the server takes for each page of the console, on a large deployment.

    python -m tests.benchmarks.console_pages
    python -m tests.benchmarks.console_pages --database postgresql

One application has 100,000 faces (bound to one collection), 10,000 jobs, and a batch of 100,000
items, half of them refused, with 1,000 findings. Prints for each page the median and the longest
time from the request to the whole answer, over a connection that stays open, and the processor time
of the shim for one. Pages that show one thing show one of these.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Table, insert, select, update

from api_shim.console.registry import PAGES
from pipeline.batches.model import BatchOptions, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.database.engine import read_values, writing
from pipeline.database.keyset import blocks
from pipeline.database.schema import batch_items, batches, bindings, collections, findings, jobs
from tests.console.conftest import ConsoleClient, sign_in
from tests.gallery_factory import MODEL
from tests.servers import PostgresServer
from tests.stack import Stack
from tests.synthetic_gallery import BLOCK, fill_gallery

FACES = 100_000
JOBS = 10_000
ITEMS = 100_000
FINDINGS = 1_000
ROUNDS = 10

NAME = "stack"  # of the application, see ``Stack``

Rows = Iterator[dict[str, Any]]


def fill(stack: Stack) -> dict[str, str]:
    """Fill the service; what stands for the names in pages' paths."""
    engine, tenant = stack.cluster.engine, stack.credentials.tenant_id
    fill_gallery(engine, tenant, FACES, MODEL)
    number = read_values(
        engine, select(collections.c.id).where(collections.c.tenant_id == tenant)
    )[0]
    put(stack, bindings, (
        {"tenant_id": tenant, "collection_id": number, "face_id": face}
        for face in range(1, FACES + 1)
    ))
    first = uuid.uuid4().hex
    put(stack, jobs, (job_row(tenant, serial, first) for serial in range(JOBS)))
    batch, _ = BatchStore(engine).open(tenant, first, "/photos", BatchOptions())
    put(stack, batch_items, (item_row(tenant, batch.id, number) for number in range(1, ITEMS + 1)))
    put(stack, findings, (
        {"batch_id": batch.id, "kind": "two_names", "face_id": 2 * each + 1,
         "other_id": 2 * each + 2, "cosine": 0.7, "count": 1}
        for each in range(FINDINGS)
    ))
    with writing(engine) as connection:
        connection.execute(update(batches).where(batches.c.id == batch.id).values(
            items=ITEMS, enrolled=ITEMS // 2, rejected=ITEMS // 2, state=BatchState.DONE.value,
            exhausted=True,
        ))
    return {
        "job_id": first, "batch_id": batch.id, "face_id": str(FACES // 2), "application": NAME,
        "name": "administrator",
    }


def job_row(tenant: int, serial: int, first: str) -> dict[str, Any]:
    failed = serial % 10 == 0
    return {
        "id": first if not serial else uuid.uuid4().hex, "tenant_id": tenant,
        "operation": "search", "dialect": "b", "state": "failed" if failed else "done",
        "stage": "index", "params": {}, "media": [], "request_id": uuid.uuid4().hex,
        "digest": "d", "trace": [], "result": None if failed else {"faces": []},
        "error_code": "no_face" if failed else None,
        "error": {"code": "no_face", "message": "No face."} if failed else None,
        "created_at": time.time() - serial, "published_at": 0.0,
        "finished_at": time.time() - serial,
    }


def item_row(tenant: int, batch_id: str, number: int) -> dict[str, Any]:
    refused = number % 2 == 0
    state = ItemState.REJECTED if refused else ItemState.ENROLLED
    return {
        "batch_id": batch_id, "number": number, "tenant_id": tenant,
        "source_name": f"photo {number}.jpg", "name_hash": number.to_bytes(16, "big"),
        "name": f"person {number}", "state": state.value,
        "reason": ("no_face", "many_faces", "bad_quality")[number % 3] if refused else None,
        "faces": 0 if refused else 1,
    }


def put(stack: Stack, table: Table, rows: Rows) -> None:
    for some in blocks(list(rows), BLOCK):
        with writing(stack.cluster.engine) as connection:
            connection.execute(insert(table), some)


def addresses(values: Mapping[str, str]) -> Iterator[str]:
    """The pages that can be asked for with ``values``."""
    for page in PAGES:
        if page.get is None or page.public:
            continue
        path = page.path.replace(":path", "")
        known = {**values, **({"name": "api"} if "/docs/" in path else {})}
        try:
            filled = path.format(**known)
        except KeyError:
            continue  # about one thing of another kind
        yield f"{filled}?application={NAME}" if "/gallery" in path else filled


def measure(client: ConsoleClient, shim: psutil.Process, path: str) -> str:
    """One line of the table."""
    status = client.get(path).status_code  # the first may compile templates
    began, taken = sum(shim.cpu_times()[:2]), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(path)
        taken.append((time.perf_counter() - start) * 1000)
    cpu_ms = (sum(shim.cpu_times()[:2]) - began) * 1000 / ROUNDS
    middle = statistics.median(taken)
    return f"{path[:70]:<70} {status} {middle:8.0f} {max(taken):8.0f} {cpu_ms:8.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    with ExitStack() as held:
        settings: dict[str, object] = {}
        if arguments.database == "postgresql":
            server = held.enter_context(PostgresServer())
            settings["database_url"] = held.enter_context(server.database())
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        stack = held.enter_context(Stack(folder, None, **settings))
        values = fill(stack)
        stack.start_shim()
        assert stack.shim is not None
        shim, client = psutil.Process(stack.shim.pid), sign_in(stack)
        print(f"{'page':<70} code   median  longest  cpu, ms")
        for path in addresses(values):
            print(measure(client, shim, path), flush=True)


if __name__ == "__main__":
    main()
