"""Reading rows page by page, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, select

from pipeline.database.engine import writing
from pipeline.database.keyset import read_pages, walk
from pipeline.database.schema import tenants
from tests.job_factory import add_tenant

QUERY = select(tenants.c.name, tenants.c.id)


def names(engine: Engine, size: int, after: int = -1) -> list[list[str]]:
    pages = read_pages(engine, QUERY, tenants.c.id, size, after)
    return [[row.name for row in page] for page in pages]


@pytest.mark.parametrize(
    ("size", "pages"),
    [
        (2, [["0", "1"], ["2", "3"], ["4"]]),
        (5, [["0", "1", "2", "3", "4"]]),
        (9, [["0", "1", "2", "3", "4"]]),
    ],
)
def test_every_row_is_read_once_in_order(
    engine: Engine, size: int, pages: list[list[str]]
) -> None:
    first, *_ = [add_tenant(engine, str(number)) for number in range(5)]
    assert names(engine, size, first - 1) == pages
    assert names(engine, size, first + 4) == []


def test_rows_are_read_as_they_are_when_their_page_is(engine: Engine) -> None:
    ids = [add_tenant(engine, str(number)) for number in range(4)]
    pages = read_pages(engine, QUERY, tenants.c.id, 2, ids[0] - 1)
    assert [row.id for row in next(pages)] == ids[:2]
    with writing(engine) as connection:
        connection.execute(delete(tenants).where(tenants.c.id == ids[2]))
    later = add_tenant(engine, "later")
    assert [row.id for row in next(pages)] == [ids[3], later]


def test_a_walk_ends_with_a_short_page() -> None:
    asked: list[int] = []

    def read(last: int) -> list[int]:
        asked.append(last)
        return list(range(last + 1, min(last + 4, 6)))

    assert list(walk(read, lambda item: item, 3, 0)) == [[1, 2, 3], [4, 5]]
    assert asked == [0, 3]
