"""What a chunk of a batch is to enrol."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from pipeline.batches.model import BatchItem, BatchOptions
from pipeline.batches.statements import WAITING_ITEMS, find_batch, item_of
from pipeline.database.engine import reading
from pipeline.gallery.enrolment import check_model
from pipeline.types import JsonObject, VectorModel


class ChunkReader:
    """Reads chunks. Raises ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check_model(self, tenant_id: int, model: VectorModel) -> None:
        """Raises ``PackMismatch`` when nothing that ``model`` makes can be enrolled."""
        with reading(self._engine) as connection:
            check_model(connection, tenant_id, model)

    def read(self, params: JsonObject) -> tuple[BatchOptions, list[BatchItem]]:
        """How a chunk is enrolled, and those of its items that wait, in order of their
        numbers: none when the batch is gone."""
        batch_id, numbers = chunk_of(params)
        with reading(self._engine) as connection:
            batch = find_batch(connection, batch_id)
            if batch is None:
                return BatchOptions(), []
            rows = connection.execute(WAITING_ITEMS, {"batch": batch_id, "numbers": list(numbers)})
            return batch.options, [item_of(each) for each in rows]


def chunk_of(params: JsonObject) -> tuple[str, Sequence[int]]:
    """(batch, items' numbers) of a job."""
    return params["batch"], params["items"]
