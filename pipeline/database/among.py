"""``column IN (...)`` whose statement is the same for any number of values on PostgreSQL, which
takes them as one array, and prepares it once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, String, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine


class _Among(FunctionElement[Any]):
    # A function that is known to be boolean is compared with 1 on SQLite, which then uses no index.
    type: TypeEngine[Any] = NullType()
    inherit_cache = True


def among(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Whether ``column``, of texts or integers, has one of the values in the list that the
    statement gets as its parameter ``name``."""
    # A text of the column's length would be cut to it, and then equal another.
    item = Text() if isinstance(column.type, String) else column.type
    return _Among(column, bindparam(name, type_=ARRAY(item)))


@compiles(_Among, "postgresql")
def _array(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} = ANY({values})"


@compiles(_Among, "sqlite")
def _list(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    return compiler.process(column.in_(bindparam(values.key, expanding=True)), **options)
