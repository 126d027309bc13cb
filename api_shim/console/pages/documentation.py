"""The documentation: its pages as they are in the package, and a search over all of them."""

from __future__ import annotations

import mimetypes

from markupsafe import Markup

from api_shim.admin.documentation import SEARCH, FoundDocumentation
from api_shim.admin.operation import Download
from api_shim.admin.routes import file_reply
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.documentation.library import all_pages, find_page, pictures
from api_shim.documentation.rendering import render_page
from api_shim.requests import Reply

ROOT = "/console/docs"


def show_list(view: View) -> Reply:
    """The pages, or what a search finds."""
    query = view.read(SEARCH)
    found = view.perform(SEARCH, query) if query.q.strip() else FoundDocumentation([], 0)
    pages = [page for page in all_pages().values() if not page.folder]
    return render(view, "system/documentation.html", pages=pages, q=query.q, found=found)


def show_page(view: View) -> Reply:
    """Raises ``NotFound``."""
    name = view.call.path_values["name"]
    if (picture := pictures().get(name)) is not None:
        return file_reply(Download(picture, mimetypes.guess_type(name)[0] or "image/svg+xml"))
    page = find_page(name.removesuffix(".md"))
    if page.name != name:
        return view.redirect(f"{ROOT}/{page.name}")
    # Made by our own renderer, which escapes what it is given.
    return render(
        view, "system/documentation_page.html", page=page, html=Markup(render_page(name)),  # noqa: S704
    )


PAGES = (
    Page(ROOT, get=show_list),
    Page(ROOT + "/{name:path}", get=show_page),
)
