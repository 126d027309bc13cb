"""Names in any encoding: how they are stored and shown."""

from __future__ import annotations

import os

import pytest

from pipeline.sources.base import ItemRefused, RefusalReason
from pipeline.sources.names import (
    MAX_SOURCE_NAME,
    Layout,
    NameSet,
    about_from_path,
    decode_name,
    inner_path,
    printable,
)


@pytest.mark.parametrize(("raw", "text"), [
    (b"plain.jpg", "plain.jpg"),
    ("张伟.jpg".encode(), "张伟.jpg"),
    (b"\xff\xfe.jpg", r"\xff\xfe.jpg"),
    (b"red\x1b[31m\n", r"red\x1b[31m\x0a"),
    ("evil\u202egpj.exe".encode(), r"evil\u202egpj.exe"),
    (rb"\xff.jpg", r"\x5cxff.jpg"),
])
def test_printable_names(raw: bytes, text: str) -> None:
    assert printable(os.fsdecode(raw)) == text
    assert printable(os.fsdecode(raw)).encode()


def test_long_names_stay_apart() -> None:
    long = "a" * 5000

    assert len(printable(long)) <= MAX_SOURCE_NAME
    assert printable(long + "b") != printable(long + "c")


def test_an_encoding_is_tried_after_utf8() -> None:
    name = "李"

    assert decode_name(name.encode(), "gb18030") == name
    assert decode_name(name.encode("gb18030"), "gb18030") == name
    assert printable(decode_name(name.encode("gb18030"))) == r"\xc0\xee"


@pytest.mark.parametrize("name", [
    "/etc/passwd", "../up.jpg", "a/../../b", "C:/x.jpg", "c:x", "\\server\\x", "a\\..\\..\\b",
    "", ".", "//", "a\0b",
])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        inner_path(name)

    assert refused.value.reason is RefusalReason.UNSAFE_NAME


@pytest.mark.parametrize(("path", "layout", "name"), [
    ("ada/1.jpg", "auto", "ada"),
    ("ada.jpg", "auto", "ada"),
    ("all/people/ada/1.jpg", "auto", "ada"),
    ("ada/1.jpg", "flat", "1"),
    ("ada/1.jpg", "person", "ada"),
    (".jpg", "flat", "jpg"),
    ("zoe\u0308/1.jpg", "person", "zoë"),
])
def test_a_path_names_a_person(path: str, layout: Layout, name: str) -> None:
    assert about_from_path(inner_path(path), layout).name == name


def test_a_picture_outside_a_folder_has_no_person() -> None:
    with pytest.raises(ItemRefused) as refused:
        about_from_path(("1.jpg",), "person")

    assert refused.value.reason is RefusalReason.NO_PERSON


def test_a_name_set_detects_new_names() -> None:
    seen = NameSet()

    assert [seen.add(name) for name in ("a", "b", "a", "\udcff")] == [True, True, False, True]
    assert len(seen) == 3
