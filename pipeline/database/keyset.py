"""Many rows in parts. Keyset pagination: reading in pages, each in a transaction of its own.

A page begins after the key of the last row of the page before, so that it costs an index
lookup however far the reading has come, and no transaction stays open while the caller works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Engine, Row, Select

from pipeline.database.engine import read_rows

Item = TypeVar("Item")
Key = TypeVar("Key")
Columns = TypeVarTuple("Columns")


def blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in parts of ``size``, as many as one statement takes."""
    return (items[start : start + size] for start in range(0, len(items), size))


def walk(
    read: Callable[[Key], Sequence[Item]], key_of: Callable[[Item], Key], size: int, start: Key
) -> Iterator[Sequence[Item]]:
    """Pages that ``read`` returns: the ``size`` items after the key it is given, in order.
    Fewer items end the walk."""
    last = start
    while page := read(last):
        yield page
        if len(page) < size:
            return
        last = key_of(page[-1])


def read_pages(
    engine: Engine, query: Select[*Columns], key: ColumnElement[int], size: int, after: int = -1
) -> Iterator[Sequence[Row[*Columns]]]:
    """The rows of ``query`` in pages of ``size``, ordered by ``key``, which is unique and one
    of the selected columns, and above ``after``. Rows that change meanwhile are read as they
    are when their page is. Raises ``DatabaseUnavailable``."""
    ordered = query.order_by(key).limit(size)
    return walk(
        lambda last: read_rows(engine, ordered.where(key > last)),
        lambda row: int(row._mapping[key]), size, after,
    )
