"""The cost of a job without its computation: accepted, claimed, read, ended.

    python -m tests.benchmarks.accepting
    python -m tests.benchmarks.accepting --database postgresql --store minio

For pictures of some sizes that wait in the database, and for the same in the media store,
prints of one job: the processor time of this process (web side and worker) and of the
database and media servers, and the median time of accepting it and of the worker's part.
Rounds of both ways alternate. The picture of an enrolment is always in the store; its
end stores one face.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import uuid
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil

from api_shim.accept_job import JobAcceptance
from api_shim.requests import JobRequest
from pipeline import storage_keys
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine
from pipeline.encryption.vault import open_vault
from pipeline.gallery.change_log import ChangeLog
from pipeline.jobs.challenges import ChallengeStore
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits
from tests.benchmarks.stores import add_store_options, stores

SIZES_KB = (15, 60, 300)


def picture(kilobytes: int) -> bytes:
    """A JPEG of 250 x 250, with bytes behind its end up to the size."""
    pixels = np.random.default_rng(1).integers(0, 255, (250, 250, 3), dtype=np.uint8)
    body = cv2.imencode(".jpg", cv2.GaussianBlur(pixels, (0, 0), 3))[1].tobytes()
    return body + os.urandom(max(0, kilobytes * 1000 - len(body)))


class Service:
    """The web side and a worker's stores in one process; ``row_kb`` as the setting."""

    def __init__(self, settings: Settings, row_kb: int) -> None:
        settings = settings.model_copy(update={"row_picture_kb": row_kb})
        web, worker = open_engine(settings.sql_url), open_engine(settings.sql_url, durable=False)
        self.web_jobs, self.jobs = JobStore(web), JobStore(worker)
        self.media = open_media(settings, None, worker)
        self.acceptance = JobAcceptance(
            settings, self.web_jobs, open_media(settings), ChangeLog(web),
            ChallengeStore(web), time.time,
        )
        self.limits = PictureLimits.from_settings(settings)
        self.tenants = TenantStore(web, open_vault(settings))

    def run(self, request: JobRequest) -> tuple[float, float]:
        """The seconds of accepting a job and of the worker's part of it."""
        began = time.perf_counter()
        job, _ = self.acceptance.accept(request, "e", self.limits, uuid.uuid4().hex, None)
        accepted = time.perf_counter()
        claim = self.jobs.claim(job.id, job.stage, "worker", 15.0, 3)
        assert claim is not None
        (key,) = job.media
        self.media.get(key)
        if request.operation == "enrol":
            objects = [(storage_keys.face_media(1, job.id, 0, self.media.name(1, b"x")), b"x")]
            self.media.put_many(objects)
        effect = None if request.operation == "locate" else (lambda _: None)
        self.jobs.finish(claim, {"faces": []}, [], effect)
        if storage_keys.is_transient(key):
            self.media.delete(key)
        return accepted - began, time.perf_counter() - accepted


def servers_s() -> float:
    """The processor seconds of the servers, which are children of this process, so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_store_options(parser)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with stores(arguments) as settings:
        Path(settings.data_dir).mkdir(exist_ok=True)
        migrate.upgrade(open_engine(settings.sql_url))
        ways = {"database": Service(settings, 2000), "media store": Service(settings, 0)}
        tenant = ways["database"].tenants.create("tenant")
        print(f"{'kB':>4} {'operation':9} {'waits in':12} {'CPU ms':>7} {'servers':>7} "
              f"{'accept ms':>9} {'worker ms':>9}")
        for operation in ("locate", "enrol"):
            for size in SIZES_KB:
                data = picture(size)
                rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
                for _ in range(arguments.rounds):
                    for way, service in ways.items():
                        if (operation, way) == ("enrol", "database"):
                            continue
                        others, own = servers_s(), time.process_time()
                        times = [
                            service.run(JobRequest(tenant, operation, {},
                                                   (data[:-8] + os.urandom(8),)))
                            for _ in range(arguments.jobs)
                        ]
                        own, others = time.process_time() - own, servers_s() - others
                        rows[way].append((
                            own / arguments.jobs, others / arguments.jobs,
                            *(statistics.median(part) for part in zip(*times, strict=True)),
                        ))
                for way, found in rows.items():
                    if not found:
                        continue
                    cpu, served, accept, work = (
                        1000 * statistics.median(part) for part in zip(*found, strict=True)
                    )
                    print(f"{size:4} {operation:9} {way:12} {cpu:7.2f} {served:7.2f} "
                          f"{accept:9.2f} {work:9.2f}", flush=True)


if __name__ == "__main__":
    main()
