"""How an application is answered where documents leave a choice, with samples of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from api_shim.admin.application_settings import (
    CHANGE_SETTINGS,
    CHANGE_WAIT,
    SHOW_SAMPLES,
    SHOW_SETTINGS,
    SampleQuery,
    SettingsChange,
)
from api_shim.admin.applications import NamedApplication
from api_shim.console.page import Page, View
from api_shim.console.pages.application import PATH, name_of, path_of, read_given, show_page
from api_shim.dialects.choices import read_choices
from api_shim.dialects.registry import app_settings
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS


def show(view: View) -> Reply:
    return _show(view, {})


def change(view: View) -> Reply:
    """Save the choices, or show the answers that they would give."""
    name, fields, texts = name_of(view), view.fields, view.texts
    tried = {each: fields[each] for each in app_settings() if each in fields}
    if profile := fields.get("profile"):
        return _show(view, read_choices(profile, {}))
    match fields.get("action"):
        case "defaults":
            return _show(view, {each.name: each.choices[0] for each in app_settings().values()})
        case "preview":
            return _show(view, tried)
        case "save":
            view.perform(CHANGE_SETTINGS, SettingsChange(
                application=name, choices=tried, challenges="challenges" in fields
            ))
        case "wait":
            view.perform(CHANGE_WAIT, read_given(
                CHANGE_WAIT, application=name, operation=fields.get("operation"),
                seconds=fields.get("seconds"), until_end="until_end" in fields,
            ))
        case _:
            raise InvalidParameter("there is no such action")
    return view.redirect(path_of(name, "settings"), texts.gettext("The settings are changed."))


def _show(view: View, tried: Mapping[str, str]) -> Reply:
    """The page with choices that are not saved yet."""
    name = name_of(view)
    kept = view.perform(SHOW_SETTINGS, NamedApplication(name))
    now = {each.name: each.value for each in kept.choices}
    tried = {**now, **tried}
    changed = {each for each in now if tried[each] != now[each]}
    query = SampleQuery(
        application=name, choices=",".join(f"{each}={value}" for each, value in tried.items())
    )
    samples = view.perform(SHOW_SAMPLES, query).samples
    bodies = [json.dumps(each.body, indent=2, ensure_ascii=False) for each in samples]
    challenges = kept.challenges
    if view.call.method == "POST":
        challenges = "challenges" in view.fields
    return show_page(
        view, "settings.html", settings=kept, tried=tried, changed=changed,
        challenges=challenges, samples=list(zip(samples, bodies, strict=True)),
        every=ALL_OPERATIONS, may_change=view.permits(CHANGE_SETTINGS),
    )


PAGES = (Page(f"{PATH}/settings", get=show, post=change),)
