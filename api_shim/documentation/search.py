"""Finds sections of the documentation by words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import msgspec

from api_shim.documentation.library import DocumentationPage, all_pages, plain_text

MAX_TERMS = 8

# Characters of an excerpt, and of those before the first word that was found.
EXCERPT, BEFORE = 240, 70

# What a word counts in a heading, in the title of the page, and in the text for each time up to
# so many.
IN_HEADING, IN_TITLE, TIMES = 8, 5, 4


class TextPart(msgspec.Struct, frozen=True):
    """A part of an excerpt; ``found``: a word that was searched for."""

    text: str
    found: bool


class FoundSection(msgspec.Struct, frozen=True):
    """A section of the documentation: ``page`` is the path below ``/console/docs/``, ``anchor``
    the place in it."""

    page: str
    title: str
    heading: str
    anchor: str
    excerpt: list[TextPart]


@dataclass(frozen=True, slots=True)
class _Section:
    page: DocumentationPage
    heading: str
    anchor: str
    text: str


def search(query: str, limit: int) -> tuple[list[FoundSection], int]:
    """The best sections that have every word of ``query``, and the number of all of them."""
    terms = list(dict.fromkeys(query.casefold().split()))[:MAX_TERMS]
    if not terms:
        return [], 0
    scored = [(_score(section, terms), section) for section in _sections()]
    found = sorted(
        (each for each in scored if each[0]), key=lambda each: each[0], reverse=True
    )
    return [_shown(section, terms) for _, section in found[:limit]], len(found)


def _score(section: _Section, terms: list[str]) -> int:
    """0 when a word is missing."""
    heading, title = section.heading.casefold(), section.page.title.casefold()
    text, total = section.text.casefold(), 0
    for term in terms:
        score = (
            IN_HEADING * (term in heading) + IN_TITLE * (term in title)
            + min(text.count(term), TIMES)
        )
        if not score:
            return 0
        total += score
    return total


def _shown(section: _Section, terms: list[str]) -> FoundSection:
    longest_first = sorted(terms, key=len, reverse=True)
    words = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    first = words.search(section.text)
    start = max(first.start() - BEFORE, 0) if first else 0
    if start:
        start = section.text.find(" ", start) + 1
    cut = section.text[start:start + EXCERPT]
    if start + EXCERPT < len(section.text):
        cut = f"{cut.rpartition(' ')[0] or cut} …"
    parts, at = [TextPart("… ", False)] if start else [], 0
    for word in words.finditer(cut):
        parts += [TextPart(cut[at:word.start()], False), TextPart(word[0], True)]
        at = word.end()
    parts.append(TextPart(cut[at:], False))
    return FoundSection(
        section.page.name, section.page.title, section.heading, section.anchor,
        [part for part in parts if part.text],
    )


@cache
def _sections() -> tuple[_Section, ...]:
    return tuple(section for page in all_pages().values() for section in _split(page))


def _split(page: DocumentationPage) -> Iterator[_Section]:
    heading, anchor, texts = page.title, "", list[str]()
    for before, token in zip((None, *page.tokens), page.tokens, strict=False):
        if before is not None and before.type == "heading_open":
            if texts:
                yield _Section(page, heading, anchor, " ".join(texts))
            heading, anchor, texts = plain_text(token), str(before.attrs["id"]), []
        elif token.type == "inline":
            texts.append(plain_text(token))
        elif token.type in ("fence", "code_block"):
            texts.append(" ".join(token.content.split()))
    yield _Section(page, heading, anchor, " ".join(texts))
