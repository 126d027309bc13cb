"""``faceline doctor`` about the vector engine, and what it still holds."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.database.diagnosis import sqlite_file
from pipeline.database.engine import open_engine
from pipeline.database.migrate import head, revision
from pipeline.deployment.findings import Check, Verdict
from pipeline.errors import DatabaseUnavailable, IndexBehind
from pipeline.index.open_vector_engine import open_vector_engine
from pipeline.index.vector_spaces import SpaceRow, SpaceState, SpaceStore

NAME = "vector engine"


def check_vector_engine(settings: Settings) -> Iterator[Check]:
    """Whether it answers, and keeps up; that no gallery is left in one that is not named."""
    rows = _rows(settings)
    engine = open_vector_engine(settings)
    if engine is None:
        if rows:
            yield Check(
                NAME, Verdict.BAD, f"{len(rows)} galleries are still in one, and none is named",
                f"name it in {variable('vector_engine_url')} again; with "
                f"{variable('vector_engine_faces')}=0 it is emptied first",
            )
        return
    try:
        described = engine.describe()
    except IndexBehind as error:
        advice = f"start it, check the way there, or correct {variable('vector_engine_url')}"
        yield Check(NAME, Verdict.BAD, error.message, advice)
        return
    finally:
        engine.close()
    serving = [row for row in rows if row.state is SpaceState.SERVING]
    faces = sum(row.faces for row in serving)
    yield Check(NAME, Verdict.GOOD, f"{described} serves {len(serving)} galleries, {faces} faces")
    for row in rows:
        if row.trouble and row.state is not SpaceState.LEAVING:
            advice = "see the log of the index processes"
            yield Check(NAME, Verdict.BAD, f"application {row.tenant_id}: {row.trouble}", advice)


def _rows(settings: Settings) -> list[SpaceRow]:
    file = sqlite_file(settings.sql_url)
    if file is not None and not file.exists():
        return []
    database = open_engine(settings.sql_url)
    try:
        return SpaceStore(database).rows() if revision(database) == head() else []
    except DatabaseUnavailable:
        return []  # as the check of the database says
    finally:
        database.dispose()
