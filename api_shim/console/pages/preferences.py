"""What a browser remembers: language and theme."""

from __future__ import annotations

from api_shim.console.page import LANGUAGE_COOKIE, THEME_COOKIE, Page, View
from api_shim.console.rendering import THEMES
from api_shim.console.texts import LANGUAGES
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter

YEAR_S = 365 * 24 * 3600


def save(view: View) -> Reply:
    """Keep a choice in a cookie and go back to the page that it was made on."""
    language, theme = view.fields.get("language", ""), view.fields.get("theme", "")
    if language in LANGUAGES:
        name, value = LANGUAGE_COOKIE, language
    elif theme in THEMES:
        name, value = THEME_COOKIE, theme
    else:
        raise InvalidParameter("there is no such choice")
    back = view.fields.get("back", "")
    reply = view.redirect(view.home(back))
    return Reply(
        reply.status, reply.body,
        headers={**reply.headers, "Set-Cookie": view.cookie(name, value, YEAR_S)},
    )


PAGES = (Page("/console/preferences", post=save, public=True),)
