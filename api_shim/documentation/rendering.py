"""A page of the documentation as HTML, under the console's policy: no style and no HTML of its
own. Links between pages stay relative: pages are served at their names, pictures at theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import lru_cache
from html import escape
from posixpath import dirname, join, normpath
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from api_shim.documentation.library import (
    DocumentationPage,
    all_pages,
    find_page,
    pictures,
)


class _ConsoleRenderer(RendererHTML):
    """Tables and code that are wider than the screen can be moved, also with the keyboard."""

    def table_open(self, *_: Any) -> str:
        return '<div class="scroll" tabindex="0" role="group"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return _code(tokens[idx])

    def code_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return _code(tokens[idx])


def _code(token: Token) -> str:
    return f'<pre tabindex="0"><code>{escape(token.content)}</code></pre>\n'


_RENDERER = _ConsoleRenderer()
_OPTIONS = OptionsDict(
    {"maxNesting": 20, "html": False, "linkify": False, "typographer": False,
     "quotes": "", "xhtmlOut": False, "breaks": False, "langPrefix": "", "highlight": None}
)


@lru_cache(maxsize=64)
def render_page(name: str) -> str:
    """The HTML of a page. Raises ``NotFound``."""
    page = find_page(name)
    return _RENDERER.render(list(_prepared(page.tokens, page)), _OPTIONS, {})


def _prepared(tokens: Iterable[Token], page: DocumentationPage) -> Iterator[Token]:
    """Copies of the tokens: links lead to pages that are there, cells have a class."""
    for token in tokens:
        made = copy(token)
        made.attrs = dict(token.attrs)
        if "style" in made.attrs:
            made.attrs = {"class": "number"} if "right" in str(made.attrs["style"]) else {}
        if made.type == "link_open":
            made.attrs = _link(str(token.attrs.get("href", "")), page)
        if token.children:
            made.children = list(_prepared(token.children, page))
        yield made


def _link(target: str, page: DocumentationPage) -> dict[str, str | int | float]:
    if "://" in target:
        return {"href": target, "rel": "noopener noreferrer"}
    path, hash_, anchor = target.partition("#")
    if not path:
        return {"href": target}
    there = normpath(join(dirname(page.name), path))
    if there in pictures():
        return {"href": target}
    if path.endswith(".md") and there.removesuffix(".md") in all_pages():
        return {"href": path.removesuffix(".md") + hash_ + anchor}
    return {}  # a file of the source, which is not here
