"""Serves the console's pages: sessions, forms and their tokens, errors as pages."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from starlette.types import Receive

from api_shim.admin.operation import AdminServices, record_refusal
from api_shim.admin.sessions import check_change, check_same_site, find_session
from api_shim.asgi import note_failure
from api_shim.console.page import Page, View
from api_shim.console.registry import PAGES
from api_shim.console.rendering import render, static_files
from api_shim.multipart import MULTIPART, read_multipart
from api_shim.parsing import read_form
from api_shim.requests import Call, Reply
from api_shim.resource import Resource, error_status
from api_shim.thread_pools import in_thread
from pipeline.errors import FaceError, NotFound, NotPermitted, RequestRefused

SIGN_IN = "/console/sign-in"

CSRF_FIELD = "csrf"

Handler = Callable[[Call, Receive], Awaitable[Reply]]


def console_routes(services: AdminServices) -> dict[str, Resource]:
    """The applications by their paths."""
    routes = {page.path: _resource(services, page) for page in PAGES}
    return {**routes, "/console/static/{name}": Resource(GET=_static)}


async def _static(call: Call, _receive: Receive) -> Reply:
    name = call.path_values["name"]
    data = static_files().get(name)
    if data is None:
        raise NotFound
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Reply(200, data, kind, {"Cache-Control": "public, max-age=31536000, immutable"})


def _resource(services: AdminServices, page: Page) -> Resource:
    handlers: dict[str, Handler] = {}
    if page.get is not None:
        handlers["GET"] = _handler(services, page)
    if page.post is not None:
        handlers["POST"] = _handler(services, page)
    return Resource(**handlers)


def _handler(services: AdminServices, page: Page) -> Handler:
    async def handle(call: Call, receive: Receive) -> Reply:
        service = services.service
        try:
            return await service.intake.run(
                call, receive, page.carries, lambda whole: show(services, page, whole)
            )
        except FaceError as error:  # the body could not be read
            return await in_thread(service.threads.reads, show_error, services, call, error)

    return handle


def show(services: AdminServices, page: Page, call: Call) -> Reply:
    """The page's reply; errors are pages, too."""
    view = View(call, services, None)
    try:
        view = replace(view, session=find_session(call, services.service))
        return _answer(view, page)
    except Exception as error:  # noqa: BLE001  # the one place where errors become pages
        return _error_page(view, error)


def show_error(services: AdminServices, call: Call, error: FaceError) -> Reply:
    """The page of an error that came before the page's own function."""
    view = View(call, services, None)
    with suppress(FaceError):
        view = replace(view, session=find_session(call, services.service))
    return _error_page(view, error)


def _error_page(view: View, error: Exception) -> Reply:
    note_failure(error, view.call)
    shown = error if isinstance(error, FaceError) else FaceError("Internal error.")
    return render(view, "error.html", error_status(error), error=shown)


def _answer(view: View, page: Page) -> Reply:
    """Raises ``FaceError``."""
    is_form = view.call.method == "POST"
    if view.session is None and not page.public:
        return view.redirect(SIGN_IN, to="" if is_form else _address(view.call))
    if is_form:
        view = _with_form(view)
    try:
        if is_form and view.session is None:
            check_same_site(view.call)
        elif is_form:
            check_change(view.signed_in, view.call, view.fields.get(CSRF_FIELD, ""))
        if view.session is not None and not view.session.operator.role.permits(page.role):
            raise NotPermitted(f"this takes the role {page.role.value}")
    except RequestRefused as error:
        if view.session is not None:
            record_refusal(view.services, view.actor, "console.page", view.call.path, error)
        raise
    function = page.post if is_form else page.get
    assert function is not None
    return function(view)


def _address(call: Call) -> str:
    """Where to come back to: path and query, as they stand in a link."""
    return quote(call.path) + (f"?{call.query}" if call.query else "")


def _with_form(view: View) -> View:
    """Raises ``InvalidParameter``."""
    call = view.call
    if call.media_type == MULTIPART:
        form = read_multipart(call.body, call.headers.get("content-type", ""), several=True)
        return replace(view, fields=form.fields, files=form.files, uploads=form.uploads)
    return replace(view, fields=read_form(call.body))
