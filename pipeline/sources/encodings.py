"""Texts whose encoding nobody tells: names and manifests from computers with a code page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_COMMON_HANZI = re.compile(r"[一-龥]")
_KANA_KANJI = re.compile(r"[぀-ヿ一-龥々〆]")
_HANGUL = re.compile(r"[가-힣]")
_CYRILLIC = re.compile(r"[А-яЁё]")


def _is_simplified(letter: str) -> bool:
    return _is_in(letter, "gb2312") and _COMMON_HANZI.match(letter) is not None


def _is_traditional(letter: str) -> bool:
    # The first level of Big5 has the characters in common use.
    return _is_in(letter, "big5") and b"\xa4\x40" <= letter.encode("big5") <= b"\xc6\x7e"


def _is_japanese(letter: str) -> bool:
    return _is_in(letter, "shift_jis") and _KANA_KANJI.match(letter) is not None


def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN SMALL LETTER")


def _is_korean(letter: str) -> bool:
    return _is_in(letter, "euc_kr") and _HANGUL.match(letter) is not None


def _is_cyrillic(letter: str) -> bool:
    return _CYRILLIC.match(letter) is not None


def _is_in(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


# The code pages of Windows by the share of users, and whether a letter is one that their
# users write.
_CODE_PAGES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("gb18030", _is_simplified),
    ("cp932", _is_japanese),
    ("big5", _is_traditional),
    ("cp949", _is_korean),
    ("cp866", _is_cyrillic),
    ("cp1251", _is_cyrillic),
    ("cp850", _is_latin),
    ("cp1252", _is_latin),
)

_DOUBLE_BYTE = ("gb18030", "cp932", "big5", "cp949")

_LEAST_SHARE = 0.5  # of the letters beyond ASCII that must be such letters
MAX_READINGS = 3


def readings(raw: bytes) -> list[tuple[str, str]]:
    """(encoding, text) for the code pages in which ``raw`` reads as words, likeliest first.
    For people to choose from: short texts read well in several."""
    found = []
    for encoding, is_expected in _CODE_PAGES:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        letters = [letter for letter in text if letter > "\x7f"]
        share = sum(map(is_expected, letters)) / max(len(letters), 1)
        if share > _LEAST_SHARE:
            found.append((share, encoding, text))
    found.sort(key=lambda each: -each[0])
    return [(encoding, text) for _, encoding, text in found[:MAX_READINGS]]


def twice_decoded(text: str) -> str:
    """What ``text`` was before it was read in a wrong encoding: UTF-8 as a code page ("JosÃ©"),
    or a double-byte code page as one of single bytes ("╒┼╚²"); empty: it was not."""
    if text.isascii():
        return ""
    for encoding in ("cp1252", "latin-1", "cp437", "gb18030"):
        try:
            before = text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        # In two bytes of a double-byte code page any letter can be UTF-8 by chance.
        least = "\u0800" if encoding == "gb18030" else "\x80"
        if before != text and before.isprintable() and max(before) >= least:
            return before
    return _double_bytes(text)


def _double_bytes(text: str) -> str:
    """The text in a double-byte code page whose bytes were read one by one: letters of ASCII
    are missing, or there are signs that no name has."""
    has_signs = any(letter > "\x7f" and not letter.isalnum() for letter in text)
    if len(text) < 2 or not (has_signs or not re.search("[A-Za-z]", text)):
        return ""
    for encoding in ("cp437", "latin-1"):
        if all(_is_in(letter, encoding) for letter in text):
            found = dict(readings(text.encode(encoding)))
            before = next((found[each] for each in _DOUBLE_BYTE if each in found), "")
            if before:
                return before
    return ""


def utf16_without_mark(start: bytes) -> str:
    """The encoding of a text that is UTF-16 without a byte order mark; empty: it is not. Its
    first line has ASCII, as the header of a manifest has."""
    even, odd = start[::2], start[1::2]
    if len(start) < 4:
        return ""
    if odd.count(0) > len(odd) // 2 and not even.count(0):
        return "utf-16-le"
    if even.count(0) > len(even) // 2 and not odd.count(0):
        return "utf-16-be"
    return ""
