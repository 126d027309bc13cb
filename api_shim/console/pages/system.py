"""What the service is made of and set to."""

from __future__ import annotations

from api_shim.admin import index, packs
from api_shim.admin.operation import AdminOperation, Nothing
from api_shim.admin.system import SETTINGS
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.config.described import SettingSource
from pipeline.deployment.pack_tasks import PackTask, PackTaskState

ROOT = "/console/system"


def show(view: View) -> Reply:
    return render(view, "system/overview.html")


def show_settings(view: View) -> Reply:
    """Those that have the words of ``q``, and with ``given`` only those that were set."""
    found = view.perform(SETTINGS, Nothing())
    words, given = view.query.get("q", "").casefold().split(), view.query.get("given", "")
    shown = [
        each for each in found.settings
        if all(word in f"{each.variable} {each.meaning}".casefold() for word in words)
        and (not given or each.source is not SettingSource.DEFAULT)
    ]
    return render(
        view, "system/settings.html", found=found, shown=shown, q=view.query.get("q", ""),
        given=given,
    )


def show_packs(view: View) -> Reply:
    found = view.perform(packs.LIST, Nothing())
    here = {each.pack: each for each in found.tasks if each.host == found.host}
    elsewhere = [each for each in found.tasks if each.host != found.host]
    running = any(each.state is PackTaskState.RUNNING for each in found.tasks)
    return render(
        view, "system/packs.html", found=found, here=here, elsewhere=elsewhere, running=running,
        may_verify=view.permits(packs.VERIFY), may_pull=view.permits(packs.PULL),
    )


def verify_pack(view: View) -> Reply:
    return _start(view, packs.VERIFY, view.texts.gettext("The check has started."))


def pull_pack(view: View) -> Reply:
    return _start(view, packs.PULL, view.texts.gettext("The download has started."))


def _start(view: View, operation: AdminOperation[packs.PackName, PackTask], notice: str) -> Reply:
    view.perform(operation, packs.PackName(name=view.call.path_values["name"]))
    return view.redirect(f"{ROOT}/packs", notice)


def show_index(view: View) -> Reply:
    found = view.perform(index.SHOW, view.read(index.SHOW))
    hosts = {each.id: f"{each.host}, {each.pid}" for each in found.processes}
    return render(
        view, "system/index.html", found=found, hosts=hosts,
        canary_every=view.services.service.settings.index_canary_every,
    )


PAGES = (
    Page(ROOT, get=show),
    Page(f"{ROOT}/settings", get=show_settings),
    Page(f"{ROOT}/packs", get=show_packs),
    Page(ROOT + "/packs/{name}/verify", post=verify_pack, role=packs.VERIFY.role),
    Page(ROOT + "/packs/{name}/pull", post=pull_pack, role=packs.PULL.role),
    Page(f"{ROOT}/index", get=show_index),
)
