"""Many rows with one statement, on both databases."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.among import among
from pipeline.database.engine import read_rows, reading, writing
from pipeline.database.many_rows import insert_rows, take_ids, update_rows
from pipeline.database.schema import batch_items, batches, faces, images
from pipeline.errors import InvalidParameter

BATCH = "b" * 32


def image(number: int, tenant: int, **values: Any) -> dict[str, Any]:
    return {
        "id": number, "tenant_id": tenant, "image_id": f"image {number}", "sha256": f"{number:064}",
        "media_key": f"key {number}", "size": number, "width": 3, "height": 4, "format": "jpeg",
        "description": "", "created_at": 1.5, **values,
    }


def face(number: int, tenant: int, of: int, **values: Any) -> dict[str, Any]:
    return {
        "id": number, "tenant_id": tenant, "image_ref": of, "person_id": f"person {number}",
        "face_token": f"token {number}", "name": "", "gender": "", "box": [1.5, 2, 3, 4],
        "landmarks": [[1.0, 2.0]], "score": 0.5, "quality": {"blur": 3.25}, "face_key": "k",
        "created_at": 2, **values,
    }


def items(tenant: int, *numbers: int) -> list[dict[str, Any]]:
    return [
        {"batch_id": BATCH, "number": number, "tenant_id": tenant,
         "name_hash": number.to_bytes(16), "picture_hash": None, "state": "waiting",
         "media_key": f"key {number}", "size": 0, "width": 0, "height": 0, "faces": 0, "tries": 0}
        for number in numbers
    ]


@pytest.fixture
def batch(engine: Engine, tenant: int) -> None:
    with writing(engine) as connection:
        insert_rows(connection, {batches: [{
            "id": BATCH, "tenant_id": tenant, "fingerprint": "", "source": "", "options": {},
            "state": "reading", "exhausted": False, "created_at": 0.0, "updated_at": 0.0,
            **dict.fromkeys(
                ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled", "skipped"), 0
            ),
        }]})


def test_rows_refer_to_rows_of_the_same_statement(engine: Engine, tenant: int) -> None:
    words = ["", "ann", "图片 '; --", '{"a": [NULL, "\\"]}', "NULL", "\n\t ", "{}"]
    with writing(engine) as connection:
        insert_rows(connection, {
            images: [
                image(number, tenant, description=word) for number, word in enumerate(words, 1)
            ],
            faces: [
                face(
                    100 + number, tenant, number, name=word,
                    quality={"said": word, "n": [1, None]},
                )
                for number, word in enumerate(words, 1)
            ],
        })
    rows = read_rows(engine, select(faces, images.c.description).join(images).order_by(faces.c.id))
    assert [row.description for row in rows] == words
    assert [row.name for row in rows] == words
    assert [row.quality for row in rows] == [{"said": word, "n": [1, None]} for word in words]
    assert {(json.dumps(row.box), row.score, row.created_at) for row in rows} == {
        ("[1.5, 2, 3, 4]", 0.5, 2.0)
    }


def test_numbers_of_several_kinds_stand_in_one_column(engine: Engine, tenant: int) -> None:
    with writing(engine) as connection:
        insert_rows(connection, {images: [
            image(1, tenant, created_at=1, size=2**40), image(2, tenant, created_at=2.5, size=0),
        ]})
    rows = read_rows(engine, select(images.c.created_at, images.c.size).order_by(images.c.id))
    assert [tuple(row) for row in rows] == [(1.0, 2**40), (2.5, 0)]


@pytest.mark.parametrize("wrong", [
    {"image_id": "image 1"},  # a second one
    {"width": None},
    {"tenant_id": 10**9},
])
def test_nothing_is_inserted_beside_a_wrong_row(
    engine: Engine, tenant: int, wrong: dict[str, Any]
) -> None:
    rows = [image(1, tenant), image(2, tenant), image(3, tenant, **wrong)]
    with pytest.raises(IntegrityError), writing(engine) as connection:
        insert_rows(connection, {images: rows})
    assert read_rows(engine, select(images.c.id)) == []


@pytest.mark.parametrize(
    ("column", "text", "refused_by"),
    [
        ("description", "\ud800", {"sqlite", "postgresql"}),
        ("description", "a\x00b", {"postgresql"}),
        ("sha256", "x" * 65, {"postgresql"}),
    ],
)
def test_a_text_is_stored_whole_or_refused(
    engine: Engine, tenant: int, column: str, text: str, refused_by: set[str]
) -> None:
    refused = engine.dialect.name in refused_by
    with pytest.raises(InvalidParameter) if refused else nullcontext(), writing(engine) as writer:
        insert_rows(writer, {images: [image(1, tenant, **{column: text})]})
    stored = read_rows(engine, select(images.c[column]))
    assert [row[0] for row in stored] == ([] if refused else [text])


def test_the_named_columns_of_the_named_rows_change(
    engine: Engine, tenant: int, batch: None
) -> None:
    with writing(engine) as connection:
        insert_rows(connection, {batch_items: items(tenant, 1, 2, 3)})
        update_rows(connection, batch_items, ("batch_id", "number"), [
            {"number": number, "batch_id": BATCH, "state": "enrolled", "media_key": None,
             "image_ref": ref, "criteria": None}
            for number, ref in ((1, 7), (3, None), (9, 9))
        ])
    columns = ("number", "state", "media_key", "image_ref")
    query = select(*(batch_items.c[name] for name in columns)).order_by(batch_items.c.number)
    assert [tuple(row) for row in read_rows(engine, query)] == [
        (1, "enrolled", None, 7), (2, "waiting", "key 2", None), (3, "enrolled", None, None),
    ]


def test_no_rows_are_no_statement(engine: Engine) -> None:
    with writing(engine) as connection:
        insert_rows(connection, {images: [], faces: []})
        update_rows(connection, images, ("id",), [])


def test_ids_are_new_and_rise(engine: Engine, tenant: int) -> None:
    taken: list[int] = []
    for count in (3, 0, 2):
        with writing(engine) as connection:
            refs, ids = take_ids(connection, {images.c.id: count, faces.c.id: 1})
            assert len(refs) == count
            insert_rows(connection, {
                images: [image(ref, tenant) for ref in refs],
                faces: [face(ids[0], tenant, refs[0])] if refs else [],
            })
        taken += refs
    assert taken == sorted(set(taken))
    # Rows that the database numbers itself follow them.
    with writing(engine) as connection:
        values = {name: value for name, value in image(0, tenant).items() if name != "id"}
        made = connection.execute(images.insert().values(**values).returning(images.c.id))
        assert made.scalar_one() > taken[-1]
        connection.execute(images.delete())
    with writing(engine) as connection:
        ((following,),) = take_ids(connection, {images.c.id: 1})
    assert following > taken[-1] + 1


def test_any_number_of_values_is_one_statement(
    engine: Engine, tenant: int, batch: None
) -> None:
    with writing(engine) as connection:
        insert_rows(connection, {
            images: [image(number, tenant) for number in (1, 2, 3)],
            batch_items: items(tenant, 1, 2, 3),
        })
    by_text = select(images.c.id).where(among(images.c.sha256, "hashes")).order_by(images.c.id)
    by_number = select(batch_items.c.number).where(among(batch_items.c.number, "numbers"))
    with reading(engine) as connection:
        for numbers in ([], [2], [3, 1], [1, 2, 3, 4]):
            hashes = [f"{number:064}" for number in numbers]
            found = connection.execute(by_text, {"hashes": [*hashes, "9" * 65]}).scalars().all()
            assert found == sorted({1, 2, 3}.intersection(numbers))
            found = connection.execute(by_number, {"numbers": numbers}).scalars().all()
            assert sorted(found) == sorted({1, 2, 3}.intersection(numbers))
        # A text of its column's length and more is no other's.
        assert connection.execute(by_text, {"hashes": [f"{1:064}0"]}).all() == []
