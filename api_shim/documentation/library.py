"""The pages and pictures of the documentation, and the parser that they are read with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.errors import NotFound

PICTURES = (".svg", ".png")

# A place that links name, which is no heading.
_PLACE = re.compile(r'<a id="([\w-]+)"></a>')


@dataclass(frozen=True, slots=True)
class DocumentationPage:
    """A page. ``name`` is its path below ``docs/`` without the ending, such as ``api`` or
    ``decisions/README``."""

    name: str
    title: str
    summary: str
    tokens: tuple[Token, ...]

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]


@cache
def all_pages() -> dict[str, DocumentationPage]:
    """Every page by its name."""
    found = {
        name.removesuffix(".md"): each.read_text("utf-8")
        for name, each in _walk(files("api_shim.documentation") / "docs")
        if name.endswith(".md")
    }
    return {name: _read(name, found[name]) for name in sorted(found)}


def find_page(name: str) -> DocumentationPage:
    """Raises ``NotFound``."""
    try:
        return all_pages()[name]
    except KeyError:
        raise NotFound("There is no such page of the documentation.") from None


@cache
def pictures() -> dict[str, bytes]:
    """Every picture by its path below ``docs/``."""
    return {
        name: each.read_bytes()
        for name, each in _walk(files("api_shim.documentation") / "docs")
        if name.endswith(PICTURES)
    }


def plain_text(token: Token) -> str:
    """The text of an inline token, without its marks."""
    return "".join(
        " " if each.type in ("softbreak", "hardbreak") else each.content
        for each in token.children or ()
    )


def _walk(folder: Traversable, path: str = "") -> Iterator[tuple[str, Traversable]]:
    if not folder.is_dir():
        return
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{path}{each.name}/")
        else:
            yield path + each.name, each


def _read(name: str, text: str) -> DocumentationPage:
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)
    _name_places(tokens)
    title = next((_after(tokens, at) for at in _places(tokens, "heading_open")), name)
    summary = next((_after(tokens, at) for at in _places(tokens, "paragraph_open")), "")
    return DocumentationPage(name, title, summary, tuple(tokens))


def _places(tokens: list[Token], kind: str) -> Iterator[int]:
    return (at for at, token in enumerate(tokens) if token.type == kind)


def _after(tokens: list[Token], at: int) -> str:
    return plain_text(tokens[at + 1])


def _name_places(tokens: list[Token]) -> None:
    """Give headings the ids by which the usual hosts link to them, and places their own."""
    used: dict[str, int] = {}
    for at in _places(tokens, "heading_open"):
        slug = re.sub(r"[^\w -]", "", _after(tokens, at)).lower().replace(" ", "-")
        count = used[slug] = used.get(slug, -1) + 1
        tokens[at].attrSet("id", f"{slug}-{count}" if count else slug)
    for at in _places(tokens, "paragraph_open"):
        inline = tokens[at + 1]
        if place := _PLACE.match(inline.content):
            tokens[at].attrSet("id", place[1])
            inline.children = [
                each for each in inline.children or () if each.content != place[0]
            ]
