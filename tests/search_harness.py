"""A batch that is done, over made-up people, and the worker that searches it for duplicates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
from sqlalchemy import insert, select, update

from pipeline.batches.duplicate_candidates import CandidateReader
from pipeline.batches.duplicate_search import (
    DuplicateSearches,
    FindingKind,
    SearchProgress,
    search_of,
)
from pipeline.batches.findings import list_findings
from pipeline.batches.model import Batch, BatchOptions, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.calibration.table import Calibration
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, batches, findings
from pipeline.encryption.data_key import DataKey, KeySource, NoKeys
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.duplicate_search import finish_duplicate_search
from pipeline.gallery.records import FaceRecord
from pipeline.jobs.model import Job
from pipeline.types import Embedding, VectorModel
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, Queue

MODEL = VectorModel("edge", "a" * 64, 64)

# Made-up people's faces have a cosine of 0.8, strangers' of 0 with a spread of 0.125.
TABLE = Calibration("edge", 64, "a" * 64, ((0.2, -1.0), (0.3, -2.0), (0.5, -4.0), (0.6, -6.0)))


def face_of(person: int, photo: int) -> Embedding:
    draw = np.random.default_rng(person)
    own = draw.standard_normal(64)
    other = np.random.default_rng((person, photo)).standard_normal(64)
    vector = own / np.linalg.norm(own) + 0.5 * other / np.linalg.norm(other)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class OneKey(NoKeys):
    """Every tenant's data are encrypted under one key."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def data_key(self, tenant_id: int) -> DataKey | None:
        return self._key


class SearchHarness:
    """A batch that is done, and the worker that searches it."""

    def __init__(self, gallery: TenantGallery, queue: Queue, clock: Clock) -> None:
        self.gallery, self.queue, self.engine = gallery, queue, gallery.engine
        self.store = BatchStore(self.engine, clock)
        self.searches = DuplicateSearches(self.engine, clock)
        self.batch = self._open(BatchOptions())
        self._number = 0
        self.table: Calibration | None = TABLE
        self.patience_s = 60.0
        self.keys: KeySource = NoKeys()
        self.jobs = 0

    def _open(self, options: BatchOptions) -> Batch:
        batch, _ = self.store.open(self.queue.tenant, options.collection, "photos", options)
        return batch

    def reject_duplicates(self) -> None:
        self.batch = self._open(BatchOptions(reject_duplicates=True, collection="again"))

    def before(self, name: str, person: int, photo: int) -> FaceRecord:
        """A face that was enrolled before the batch."""
        return self.gallery.add(
            f"{name}-{person}-{photo}-{self.batch.id}", name=name, model=MODEL,
            embedding=face_of(person, photo),
        )

    def bring(self, name: str, person: int, photo: int) -> FaceRecord:
        """A face that the batch has enrolled."""
        face = self.before(name, person, photo)
        self.enrolled(face)
        return face

    def enrolled(self, face: FaceRecord) -> None:
        """Record a face as enrolled by the batch."""
        self._item(face, face.name, ItemState.ENROLLED)

    def again(self, face: FaceRecord, name: str) -> int:
        """The same picture once more."""
        return self._item(face, name, ItemState.DUPLICATE)

    def _item(self, face: FaceRecord, name: str, state: ItemState) -> int:
        self._number += 1
        image = self.gallery.images.get(self.gallery.tenant, face.image_id)
        mark = self._number.to_bytes(16, "big")
        with writing(self.engine) as connection:
            connection.execute(
                insert(batch_items).values(
                    batch_id=self.batch.id, number=self._number, tenant_id=self.gallery.tenant,
                    name_hash=mark, source_name=f"{self._number}.jpg", name=name,
                    state=state.value, image_ref=image.id, face_id=face.id, faces=1,
                )
            )
            column = batches.c[state.value]
            connection.execute(
                update(batches).where(batches.c.id == self.batch.id)
                .values({column: column + 1, batches.c["items"]: batches.c["items"] + 1,
                         batches.c.state: BatchState.DONE.value,
                         batches.c.exhausted: True})
            )
        return self._number

    # -- searching ----------------------------------------------------------------

    @property
    def tools(self) -> Resources:
        info = SimpleNamespace(name="edge", recognition_model="a" * 64, dimension=64)
        return cast(Resources, SimpleNamespace(
            pack=SimpleNamespace(info=info), calibration_of=lambda tenant_id: self.table,
            get=lambda kind: kind(
                CandidateReader(self.engine, self.keys), time_slice_s=self.patience_s
            ),
        ))

    def run(self, job: Job) -> None:
        conclusion = finish_duplicate_search(job, JobContext(), self.tools)
        assert self.queue.finish(self.queue.take(job), {}, [], conclusion.effect)
        self.jobs += 1

    def search(self) -> SearchProgress:
        """Search to the end."""
        self.searches.start_due()
        while (search := self.now()).state == "searching":
            job = self.queue.read.find(search.job)
            assert job is not None
            self.run(job)
        return search

    def now(self) -> SearchProgress:
        search = search_of(self.store.get(None, self.batch.id))
        assert search is not None
        return search

    def found(self, kind: FindingKind) -> list[tuple[str, str, int]]:
        return [
            (each.face.name, "" if each.other is None else each.other.name, each.count)
            for each in list_findings(self.engine, self.batch.id) if each.kind is kind
        ]

    def rows(self) -> int:
        with reading(self.engine) as connection:
            return len(connection.execute(select(findings.c.id)).all())
