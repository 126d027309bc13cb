"""The cost of encryption at rest: enrolling, reading an index in from the gallery and from a
snapshot, with and without.

    python -m tests.benchmarks.encryption_cost --faces 5000

Two applications in one SQLite database and one directory, one of them encrypted, take turns.
An enrolment is what a worker does at its end: picture (300 kB), cut-out face (8 kB), and the
transaction with a vector of 512 numbers; decoding, finding and embedding are left out.
Prints CPU milliseconds and the ratios, which compare well on a machine that does other things.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from pipeline import storage_keys
from pipeline.accounts.tenants import TenantStore
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.encryption.data_keys import TenantKeys
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.records import EnrolmentRequest, NewFace, NewImage
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.types import Box, VectorModel

MODEL = VectorModel("bench", "b" * 64, 512)
PICTURE_BYTES, CUTOUT_BYTES = 300_000, 8_000
BLOCK = 100


class Bench:
    """The stores of one process."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = open_engine(f"sqlite:///{folder / 'bench.db'}", durable=False)
        migrate.upgrade(self.engine)
        vault = Vault(os.urandom(KEY_BYTES))
        self.tenants = TenantStore(self.engine, vault)
        self.keys = TenantKeys(self.engine, lambda: vault)
        self.media = EncryptedStore(DirectoryStore(folder / "media"), self.keys)
        self.log = ChangeLog(self.engine, self.keys)

    def enrol(self, tenant: int) -> None:
        picture, cutout = os.urandom(PICTURE_BYTES), os.urandom(CUTOUT_BYTES)
        vector = np.random.default_rng().standard_normal(MODEL.dimension).astype(np.float32)
        owner = os.urandom(16).hex()
        began = time.process_time()
        image = storage_keys.image_media(tenant, owner, self.media.name(tenant, picture))
        face = storage_keys.face_media(tenant, owner, 0, self.media.name(tenant, cutout))
        self.media.put(image, picture)
        self.media.put(face, cutout)
        new = EnrolmentRequest(
            NewImage(
                image_id=owner, sha256=storage_keys.media_hash(image), media_key=image,
                size=PICTURE_BYTES, width=640, height=480, format="JPEG",
            ),
            (
                NewFace(
                    box=Box(1, 2, 3, 4), landmarks=[[1.0, 2.0]] * 5, score=0.9, quality={},
                    face_key=face, embedding=vector / np.linalg.norm(vector),
                ),
            ),
            MODEL,
        )
        with writing(self.engine) as connection:
            enrol(connection, tenant, new, time.time(), self.keys.data_key(tenant))
        self.spent += time.process_time() - began

    spent = 0.0

    def block(self, tenant: int) -> float:
        """CPU milliseconds of one enrolment, the mean of a block."""
        self.spent = 0.0
        for _ in range(BLOCK):
            self.enrol(tenant)
        return 1000 * self.spent / BLOCK

    def view(self, tenant: int) -> TenantView:
        return TenantView(tenant, self.log, self.media, ViewOptions())


def cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def compare(what: str, plain: list[float], sealed: list[float]) -> None:
    ratio = statistics.median(b / a for a, b in zip(plain, sealed, strict=True))
    print(f"| {what} | {statistics.median(plain):.2f} | {statistics.median(sealed):.2f} "
          f"| {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faces", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        plain = bench.tenants.create("plain").id
        sealed = bench.tenants.create("sealed", encrypted=True).id
        both: tuple[list[float], list[float]] = ([], [])
        for _ in range(asked.faces // BLOCK):
            for tenant, times in zip((plain, sealed), both, strict=True):
                times.append(bench.block(tenant))
        print("| what | plain, CPU ms | encrypted, CPU ms | ratio |\n|---|---|---|---|")
        compare("one enrolment, its stores alone", *both)
        for what, make in (("gallery", False), ("snapshot", True)):
            both = ([], [])
            for tenant in (plain, sealed) if make else ():
                view = bench.view(tenant)
                view.open()
                view.snapshot()
            for _ in range(asked.rounds):
                for tenant, times in zip((plain, sealed), both, strict=True):
                    times.append(cpu_ms(bench.view(tenant).open))
            compare(f"index of {asked.faces:,} faces read from the {what}", *both)


if __name__ == "__main__":
    main()
