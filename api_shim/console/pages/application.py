"""What the pages of an application have in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from api_shim.admin.applications import SHOW_APPLICATION, NamedApplication
from api_shim.admin.operation import AdminOperation, Given
from api_shim.console.page import View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter

ROOT = "/console/applications"
PATH = f"{ROOT}/{{application}}"


def name_of(view: View) -> str:
    """The application that the page's path names."""
    return view.call.path_values["application"]


def path_of(name: str, *parts: str) -> str:
    """The path of a page of an application."""
    return "/".join((ROOT, *(quote(each, safe="") for each in (name, *parts))))


def show_page(view: View, template: str, **values: Any) -> Reply:
    """A page of the application that the path names, from a template in ``applications/``. Raises
    ``NotFound``."""
    found = view.perform(SHOW_APPLICATION, NamedApplication(name_of(view)))
    return render(
        view, f"applications/{template}", application=found,
        at=lambda *parts: view.link(path_of(found.name, *parts)), **values,
    )


def read_given(operation: AdminOperation[Given, Any], /, **values: object) -> Given:
    """What a form gives an operation; fields left empty are as good as none. Raises
    ``InvalidParameter``."""
    sent = {name: each for name, each in values.items() if each not in (None, "")}
    try:
        return msgspec.convert(sent, operation.takes, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidParameter(str(error)) from error


def chosen(view: View, prefix: str) -> list[str]:
    """The names of the boxes with this prefix that are ticked in the form."""
    return [name.removeprefix(prefix) for name in view.fields if name.startswith(prefix)]
