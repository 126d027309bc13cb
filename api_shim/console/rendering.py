"""Templates as replies: Jinja2, with everything escaped, under a policy that lets a browser load
nothing from elsewhere and run nothing that stands in a page."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api_shim.console.navigation import SECTIONS, section_path
from api_shim.console.page import NOTICE_COOKIE, THEME_COOKIE, View
from api_shim.console.texts import LANGUAGES
from api_shim.requests import Reply

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}

THEMES = ("auto", "light", "dark")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("api_shim.console"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.i18n"],
    )
    made.filters["time"] = _time
    made.filters["pretty"] = _pretty
    return made


def render(view: View, template: str, status: int = 200, **values: Any) -> Reply:
    """A page from a template below ``templates/``, as ``render_text`` gives it."""
    text = render_text(view, template, **values)
    headers = dict(HEADERS)
    if view.notice:
        headers["Set-Cookie"] = view.cookie(NOTICE_COOKIE, "", max_age=0)
    return Reply(status, text.encode(), "text/html; charset=utf-8", headers)


def render_text(view: View, template: str, **values: Any) -> str:
    """The text of a page or of a part of one. Beside ``values`` its template has ``view``,
    ``texts``, ``link``, ``static``, ``csrf`` (a form's field) and the translations ``_`` and
    ``ngettext``."""
    texts, theme = view.texts, view.cookies.get(THEME_COOKIE, "")
    return _environment().get_template(template).render(
        view=view, texts=texts, _=texts.gettext, gettext=texts.gettext, ngettext=texts.ngettext,
        link=view.link, static=lambda name: view.link(f"/console/static/{static_name(name)}"),
        sections=SECTIONS, section_path=section_path, languages=LANGUAGES,
        theme=theme if theme in THEMES else THEMES[0], session=view.session,
        csrf=lambda: _csrf_field(view), **values,
    )


def _csrf_field(view: View) -> Markup:
    """What each form of a session carries."""
    token = view.session.csrf_token if view.session else ""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)


def _pretty(value: Any) -> str:
    """A value as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _time(epoch_s: float | None) -> Markup:
    """A moment in UTC, which the browser shows in its own zone."""
    if epoch_s is None:
        return Markup("&ndash;")
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


@cache
def static_files() -> dict[str, bytes]:
    """Style sheets, scripts and pictures of the console by their names with a part of their
    digest, which lets a browser keep them."""
    found = {}
    for each in (files("api_shim.console") / "static").iterdir():
        data = each.read_bytes()
        stem, _, ending = each.name.rpartition(".")
        found[f"{stem}.{hashlib.sha256(data).hexdigest()[:12]}.{ending}"] = data
    return found


@cache
def static_name(name: str) -> str:
    """The name with digest of a file in ``static/``. Raises ``LookupError``."""
    stem, _, ending = name.rpartition(".")
    return next(
        each for each in static_files()
        if each.startswith(f"{stem}.") and each.endswith(f".{ending}")
        and each.count(".") == name.count(".") + 1
    )
