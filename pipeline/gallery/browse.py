"""Galleries as people look through them: page by page, each found by its key, so that the last
page costs what the first one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    func,
    literal_column,
    or_,
    select,
    union,
)

from pipeline.database.engine import read_values, reading
from pipeline.database.schema import bindings, faces, images
from pipeline.errors import InvalidParameter
from pipeline.gallery.collections import collections_of, resolve_collections
from pipeline.gallery.records import SELECT_FACES, Collection, FaceRecord, face_from_row
from pipeline.identifiers import is_printable

MOST_COUNTED = 10_000
"""Faces up to which a gallery or a collection is counted: a few milliseconds."""

# Behind every text that begins with what is before it.
_LAST_CHARACTER = "\U0010ffff"

_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class GalleryPart:
    """Faces with their collections; ``next`` is the key after which the next part begins, None
    after the last face."""

    faces: tuple[FaceRecord, ...]
    collections: dict[int, list[Collection]]
    next: str | None


@dataclass(frozen=True, slots=True)
class GalleryBrowser:
    """Reads the galleries of all tenants in parts. All methods raise ``DatabaseUnavailable``."""

    engine: Engine

    def newest(
        self, tenant_id: int, *, collection: str | None = None, after: str = "", limit: int = 50
    ) -> GalleryPart:
        """The faces of a gallery or of one collection, the newest first. Raises
        ``CollectionNotFound``, ``InvalidParameter`` for a key of no part."""
        before = _read_id(after) if after else None
        with reading(self.engine) as connection:
            if collection is None:
                ids = select(faces.c.id).where(faces.c.tenant_id == tenant_id)
                key: ColumnElement[int] = faces.c.id
            else:
                (found,) = resolve_collections(connection, tenant_id, [collection])
                ids = select(bindings.c.face_id).where(bindings.c.collection_id == found.id)
                key = bindings.c.face_id
            if before is not None:
                ids = ids.where(key < before)
            chosen = list(connection.execute(ids.order_by(key.desc()).limit(limit + 1)).scalars())
            rows = connection.execute(
                SELECT_FACES.where(faces.c.tenant_id == tenant_id, faces.c.id.in_(chosen[:limit]))
                .order_by(faces.c.id.desc())
            ).all()
            more = len(chosen) > limit
            return _part(connection, tenant_id, rows, str(chosen[limit - 1]) if more else None)

    def named(
        self, tenant_id: int, prefix: str, *, collection: str | None = None, after: str = "",
        limit: int = 50,
    ) -> GalleryPart:
        """The faces whose name begins so, as it is written, in small letters, in capitals, or
        with capitals at the beginning of words; in order of their names. Raises as ``newest``.
        """
        last = _read_name_key(after) if after else None
        found: list[Row[*tuple[object, ...]]] = []
        with reading(self.engine) as connection:
            inside = None
            if collection is not None:
                (known,) = resolve_collections(connection, tenant_id, [collection])
                inside = faces.c.id.in_(
                    select(bindings.c.face_id).where(
                        bindings.c.collection_id == known.id, bindings.c.face_id == faces.c.id
                    )
                )
            for each in _spellings(prefix):
                if len(found) <= limit:
                    query = self._of_prefix(tenant_id, each, last)
                    query = query if inside is None else query.where(inside)
                    found += connection.execute(query.limit(limit + 1 - len(found))).all()
            rows = found[:limit]
            key = f"{rows[-1].id} {rows[-1].name}" if len(found) > limit else None
            return _part(connection, tenant_id, rows, key)

    def _of_prefix(
        self, tenant_id: int, prefix: str, last: tuple[str, int] | None
    ) -> Select[*tuple[object, ...]]:
        order = _ByCodePoint(self.engine)
        query = SELECT_FACES.where(
            faces.c.tenant_id == tenant_id, order.at_least(prefix),
            order.below(prefix + _LAST_CHARACTER),
        )
        if last is not None:
            name, face_id = last
            query = query.where(
                order.at_least(name), or_(order.above(name), faces.c.id > face_id)
            )
        return query.order_by(order.ascending, faces.c.id)

    def identified(self, tenant_id: int, text: str) -> GalleryPart:
        """The faces that have this id, person id or face token, and those on the picture with
        this id."""
        mine = select(faces.c.id).where(faces.c.tenant_id == tenant_id)
        is_id = text.isdecimal() and text.isascii() and int(text) <= _LARGEST_ID
        on_it = (
            select(faces.c.id).join(images, images.c.id == faces.c.image_ref)
            .where(images.c.tenant_id == tenant_id, images.c.image_id == text)
        )
        ids = union(
            mine.where(faces.c.id == (int(text) if is_id else 0)),
            mine.where(faces.c.person_id == text), mine.where(faces.c.face_token == text), on_it,
        )
        with reading(self.engine) as connection:
            chosen = list(connection.execute(ids).scalars())
            query = SELECT_FACES.where(faces.c.tenant_id == tenant_id, faces.c.id.in_(chosen))
            rows = connection.execute(query.order_by(faces.c.id)).all()
            return _part(connection, tenant_id, rows, None)

    def on_picture(self, tenant_id: int, image_id: str) -> list[FaceRecord]:
        """The faces on a picture, oldest first."""
        query = SELECT_FACES.where(images.c.tenant_id == tenant_id, images.c.image_id == image_id)
        return self._read(query.order_by(faces.c.id))

    def of_name(self, tenant_id: int, name: str, limit: int) -> list[FaceRecord]:
        """Up to ``limit`` faces with exactly this name, oldest first."""
        query = SELECT_FACES.where(faces.c.tenant_id == tenant_id, faces.c.name == name)
        return self._read(query.order_by(faces.c.id).limit(limit))

    def count(self, tenant_id: int, collection: int | None = None) -> int:
        """How many faces a gallery, or the collection with an id, has, counted up to one more
        than ``MOST_COUNTED``."""
        table: Table = faces if collection is None else bindings
        query = select(table.c.tenant_id).where(table.c.tenant_id == tenant_id)
        if collection is not None:
            query = query.where(bindings.c.collection_id == collection)
        some = query.limit(MOST_COUNTED + 1).subquery()
        return read_values(self.engine, select(func.count()).select_from(some))[0]

    def _read(self, query: Select[*tuple[object, ...]]) -> list[FaceRecord]:
        with reading(self.engine) as connection:
            return [face_from_row(row) for row in connection.execute(query)]


def _part(
    connection: Connection, tenant_id: int, rows: Sequence[Row[*tuple[object, ...]]],
    key: str | None,
) -> GalleryPart:
    found = tuple(face_from_row(row) for row in rows)
    bound = collections_of(connection, tenant_id, [each.id for each in found])
    return GalleryPart(found, bound, key)


class _ByCodePoint:
    """Names in the order of their code points, in which a prefix is a range. SQLite compares so;
    PostgreSQL has operators for it, and an index for these."""

    def __init__(self, engine: Engine) -> None:
        self._marked = engine.dialect.name == "postgresql"

    @property
    def ascending(self) -> ColumnElement[str]:
        return literal_column("faces.name USING ~<~") if self._marked else faces.c.name.asc()

    def at_least(self, text: str) -> ColumnElement[bool]:
        return faces.c.name.bool_op("~>=~" if self._marked else ">=")(text)

    def above(self, text: str) -> ColumnElement[bool]:
        return faces.c.name.bool_op("~>~" if self._marked else ">")(text)

    def below(self, text: str) -> ColumnElement[bool]:
        return faces.c.name.bool_op("~<~" if self._marked else "<")(text)


def _spellings(prefix: str) -> list[str]:
    """The ways in which a name may be written, each once and in the order of their code points.
    None is the beginning of another, so that their ranges follow each other."""
    found = sorted({prefix, prefix.lower(), prefix.upper(), prefix.title()})
    return [
        each for each in found
        if not any(other != each and each.startswith(other) for other in found)
    ]


def _read_id(key: str) -> int:
    """Raises ``InvalidParameter``."""
    if not (key.isascii() and key.isdecimal()) or int(key) > _LARGEST_ID:
        raise InvalidParameter("that is no key of a part of this gallery")
    return int(key)


def _read_name_key(key: str) -> tuple[str, int]:
    """The name and the id in a key of ``named``. Raises ``InvalidParameter``."""
    face_id, _, name = key.partition(" ")
    if not is_printable(name):
        raise InvalidParameter("that is no key of a part of this gallery")
    return name, _read_id(face_id)
