"""The bucket that applications import from: which objects a name can reach."""

from __future__ import annotations

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, InvalidParameter
from pipeline.sources.base import Item, RefusedItem
from pipeline.sources.import_bucket import (
    UNNAMED_ITEM,
    ListedItem,
    ListedSource,
    check_prefix,
    import_location,
)
from pipeline.sources.names import from_printable, printable


def settings(url: str = "s3+http://127.0.0.1:1/imports/in/", **more: object) -> Settings:
    return Settings.model_validate({"import_url": url, **more})


def listed(*items: ListedItem) -> list[Item | RefusedItem]:
    return list(ListedSource(settings(), 7, list(items)).items())


def test_each_application_has_its_folder() -> None:
    assert import_location(settings(), 7).prefix == "in/t7/"
    assert import_location(settings("s3://imports"), 7).prefix == "t7/"


@pytest.mark.parametrize(("url", "media"), [
    ("", ""), ("imports", ""), ("http://host/imports", ""), ("s3+http://host", ""),
    ("s3+http://key@host/imports", ""), ("s3://own", "s3://own"),
    ("s3+http://minio:9000/own/in", "s3+https://minio.example/own"),
])
def test_invalid_import_locations(url: str, media: str) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_IMPORT_URL"):
        import_location(settings(url, media_url=media), 7)


HOSTILE = [
    "../t8/a.jpg", "a/../../t8/a.jpg", "/in/t8/a.jpg", "\\a.jpg", "a\\..\\b.jpg", "C:a.jpg",
    "a\0.jpg", "..", ".", "/", "a/..",
]


def test_names_cannot_lead_out_of_the_folder() -> None:
    for number, found in enumerate(listed(*map(ListedItem, HOSTILE)), 1):
        assert isinstance(found, RefusedItem), HOSTILE[number - 1]
        assert (found.source_name, found.reason) == (f"(item {number})", "unsafe_name")
        assert UNNAMED_ITEM.fullmatch(found.source_name)
    for prefix in (*HOSTILE, "x" * 1025):
        with pytest.raises(InvalidParameter):
            check_prefix(prefix)
    assert check_prefix("") == ""
    assert check_prefix("2026/a") == "2026/a"


def test_the_name_of_an_item() -> None:
    first, second, third, again = listed(
        ListedItem("ada/1.jpg", collection="1"), ListedItem("zoe.jpg"),
        ListedItem("x.jpg", " Eve\0\u202e ", external_id="\x1b[31m", description="d"),
        ListedItem("zoe.jpg", "Zoe"),
    )
    assert [each.about.name for each in (first, second, third)] == [
        "ada", "zoe", "Eve\\x00\\u202e",
    ]
    assert (first.about.collection, third.about.external_id) == ("1", "\\x1b[31m")
    assert isinstance(again, RefusedItem)
    assert (again.reason, again.about.name) == ("duplicate_name", "Zoe")


def test_a_printable_name_can_be_read_back() -> None:
    for name in ("a b/1.jpg", "a\\b\x01\u2028\x9b.jpg", "张/1.jpg", "\\x41"):
        assert from_printable(printable(name)) == name
