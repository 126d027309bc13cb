"""Reading texts whose encoding nobody tells."""

from __future__ import annotations

import pytest

from pipeline.sources.encodings import readings, twice_decoded, utf16_without_mark


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("张三", "gbk", "gb18030"), ("李四/王芳", "gbk", "gb18030"), ("山田太郎", "cp932", "cp932"),
        ("さとう", "cp932", "cp932"), ("陳大文", "big5", "big5"), ("김철수", "cp949", "cp949"),
        ("Иван", "cp866", "cp866"), ("Иван", "cp1251", "cp1251"), ("André", "cp437", "cp850"),
        ("Müller", "cp1252", "cp1252"),
    ],
)
def test_the_maker_s_text_is_among_the_readings(text: str, encoding: str, told: str) -> None:
    assert (told, text) in readings(text.encode(encoding))


def test_what_reads_as_nothing() -> None:
    assert readings(b"\xb1") == []


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("JosÃ©", "José"), ("寮犱笁", "张三"), ("Ada", ""), ("José", ""), ("张三", ""), ("一", ""),
        ("Zoë Łukasz", ""), ("Ã", ""), ("╒┼╚²", "张三"), ("ÕÅÈý", "张三"), ("é", ""),
        ("Åsa Öberg", ""), ("Иван", ""), ("Ōé", ""), ("O’Neil", ""), ("½ Ada", ""), ("김철수", ""),
    ],
)
def test_texts_that_were_decoded_twice(text: str, before: str) -> None:
    assert twice_decoded(text) == before


def test_utf16_without_a_mark() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        assert utf16_without_mark("path,name\n1.jpg,张".encode(encoding)) == encoding
    for data in (b"", b"path,name\n", "路径,姓名".encode(), bytes(20)):
        assert utf16_without_mark(data) == ""
