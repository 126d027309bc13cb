"""``faceline packs upgrade``: another pack for the whole deployment, while it serves."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from infra.cli.arguments import Json, Yes
from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.database import Stores
from infra.cli.progress import count_bar
from pipeline.accounts.model import Tenant
from pipeline.analysis.tools import open_tools
from pipeline.calibration.table import load_table
from pipeline.deployment.pack import (
    PackUpgrade,
    PinnedPack,
    current_upgrade,
    find_pack,
    pinned_pack,
)
from pipeline.deployment.pack_upgrade import begin_upgrade, end_upgrade, serve_pack
from pipeline.deployment.processes import ProcessTable
from pipeline.errors import GalleryBusy, InvalidParameter, Uncalibrated, UpgradeNotReady
from pipeline.gallery.other_vectors import (
    FillState,
    drop_other_vectors,
    fill_state,
    sides_of,
    switch_gallery,
    try_unfit_again,
)
from pipeline.operations import Stage
from pipeline.pack_change.generation import GenerationFill
from pipeline.sessions import registry
from pipeline.sessions.base import Pack, PackInfo
from pipeline.sessions.checksums import verify
from pipeline.types import VectorModel

NICENESS = 10  # as bulk workers: the service's own work goes first

SWITCH_TRIES = 100
"""How often a gallery is filled up and tried again while faces keep coming in."""

BUSY_PAUSE_S = 0.2

LOADED_WITHIN_S = 60.0
"""Seconds that processes may take to notice the upgrade and to load the other pack."""


def upgrade(
    name: Annotated[
        str | None, typer.Argument(help="The pack to change to; without it: the one in course.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show how far it is, and end.")] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Serve all galleries by the new pack.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Serve all galleries by the former pack again.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="End it: delete the vectors that serve no more.")
    ] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Switch although faces cannot be embedded.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Change the pack of the deployment while it serves.

    Embeds every enrolled face with the other pack, from its stored picture, beside the service;
    stopped, it goes on where it was. Then --switch, and --rollback for as long as --finish has not
    deleted the vectors of the former pack. `faceline packs compare` shows what would change.
    """
    if [status, switch, rollback, finish].count(True) > 1:
        raise InvalidParameter("take one of --status, --switch, --rollback and --finish")
    stores = Stores()
    found = _upgrade(stores, name, begins=not (status or switch or rollback or finish))
    if finish:
        _finish(stores, found, yes=yes)
        return
    if not status:
        os.nice(NICENESS)
        wanted = found.next if switch else found.former if rollback else None
        _Run(stores, found, leave_out=leave_out).run(wanted)
    _show(stores, found, json=json)


def _upgrade(stores: Stores, name: str | None, *, begins: bool) -> PackUpgrade:
    """The upgrade in course, begun where that is asked for."""
    found = current_upgrade(stores.engine)
    if name is None:
        if found is None:
            raise InvalidParameter("no upgrade is in course; name a pack to begin one")
        return found
    info = registry.choose(stores.settings.model_copy(update={"pack": name}))
    if found is None and begins:
        _check(stores, info)
        return begin_upgrade(stores.engine, info)
    if found is None:
        raise InvalidParameter(f"no upgrade is in course; `packs upgrade {name}` begins one")
    return begin_upgrade(stores.engine, info)


def _check(stores: Stores, info: PackInfo) -> None:
    """Whether a pack can follow the deployment's. Raises ``Uncalibrated``, ``PackDamaged``,
    ``InvalidParameter``."""
    verify(info)
    if load_table(info.name, stores.settings.data_dir, info.recognition_model) is None:
        raise Uncalibrated(
            f"The pack {info.name!r} has no calibration table: make one first with `faceline "
            f"calibrate --pack {info.name}`."
        )
    pinned = pinned_pack(stores.engine)
    same = pinned is not None and pinned.recognition_model == info.recognition_model
    if pinned is not None and same and pinned.digest != info.digest:
        raise InvalidParameter(
            f"{info.name!r} has the recognition model of {pinned.name!r}: no face is embedded "
            f"again. Use `faceline models pin {info.name}`."
        )


class _Run:
    """Filling, and switching to the wanted pack."""

    def __init__(self, stores: Stores, found: PackUpgrade, *, leave_out: bool) -> None:
        self._stores = stores
        self._upgrade = found
        self._leave_out = leave_out
        self._packs: dict[str, Pack] = {}

    def run(self, wanted: PinnedPack | None) -> None:
        """Fill all galleries; then serve them by the ``wanted`` pack, if any."""
        if wanted is not None:
            require_loaded(self._stores, self._upgrade)
        for tenant in self._stores.tenants.all():
            target = wanted or self._target(tenant)
            self._fill(tenant, target, again=wanted is None)
        if wanted is not None:
            self._switch_all(wanted)

    def _target(self, tenant: Tenant) -> PinnedPack:
        """The pack that does not serve the gallery."""
        state = fill_state(
            self._stores.engine, tenant.id, self._upgrade.next.recognition_model
        )
        return self._upgrade.other(state.served) if state.served else self._upgrade.next

    def _fill(self, tenant: Tenant, target: PinnedPack, *, again: bool) -> FillState:
        """Fill a gallery; how far it was before."""
        engine, model = self._stores.engine, target.recognition_model
        if again:
            try_unfit_again(engine, tenant.id, model)
        state = fill_state(engine, tenant.id, model)
        if not state.pending:
            return state
        done = state.filled + state.unfit
        with (
            open_tools(self._pack(target), self._stores.settings) as tools,
            count_bar(tenant.name, err) as progress,
        ):
            progress(done, state.faces)

            def filled(count: int) -> None:
                nonlocal done
                done += count
                progress(done, max(state.faces, done))

            info = tools.pack.info
            GenerationFill(
                engine, self._stores.keys, self._stores.media, tools,
                VectorModel(info.name, info.recognition_model, info.dimension),
            ).fill(tenant.id, filled)
        return state

    def _switch_all(self, wanted: PinnedPack) -> None:
        """Switch every gallery, and then the deployment, which the next gallery begins with."""
        for tenant in self._stores.tenants.all():
            self._switch(tenant, wanted)
        serve_pack(self._stores.engine, wanted.digest)
        # Galleries whose first face came meanwhile.
        for tenant in self._stores.tenants.all():
            self._switch(tenant, wanted)

    def _switch(self, tenant: Tenant, wanted: PinnedPack) -> None:
        engine, model = self._stores.engine, wanted.recognition_model
        for last in (*[False] * (SWITCH_TRIES - 1), True):
            if not self._fill(tenant, wanted, again=False).faces:
                return
            try:
                left = switch_gallery(engine, tenant.id, model, leave_out=self._leave_out)
            except (UpgradeNotReady, GalleryBusy) as error:
                pending = fill_state(engine, tenant.id, model).pending
                if last or not (pending or isinstance(error, GalleryBusy)):
                    raise UpgradeNotReady(f"{tenant.name}: {error.message}") from error
                time.sleep(BUSY_PAUSE_S)
            else:
                told = f", {left} faces left out" if left else ""
                print_notice(f"{tenant.name} is served by {wanted.name!r}{told}.")
                return

    def _pack(self, pinned: PinnedPack) -> Pack:
        if pinned.digest not in self._packs:
            settings = self._stores.settings
            self._packs[pinned.digest] = registry.load(find_pack(settings, pinned), settings)
        return self._packs[pinned.digest]


def require_loaded(stores: Stores, found: PackUpgrade) -> None:
    """Wait until every running process has loaded both packs; workers of batches load them at
    their first job. Raises ``UpgradeNotReady`` after ``LOADED_WITHIN_S``."""
    until = time.monotonic() + LOADED_WITHIN_S
    while lacking := _lacking(stores, found):
        if time.monotonic() > until:
            raise UpgradeNotReady(
                f"These processes have not loaded both packs: {', '.join(lacking)}. They load "
                "what is on their machine within seconds; their logs say what is missing."
            )
        time.sleep(BUSY_PAUSE_S)


def _lacking(stores: Stores, found: PackUpgrade) -> list[str]:
    return [
        f"{each.role} {each.pid} on {each.host}"
        for each in ProcessTable(stores.engine).alive()
        if each.pack_digest and each.stages != {Stage.BULK}
        and not set(found.digests) <= set(each.packs or ())
    ]


def _rows(stores: Stores, found: PackUpgrade) -> list[dict[str, Any]]:
    rows = []
    for tenant in stores.tenants.all():
        state = sides_of(
            stores.engine, tenant.id, found.former.recognition_model, found.next.recognition_model
        )
        served, other = found.former, found.next
        if state.served == other.recognition_model:
            served, other = other, served
        rows.append({
            "app": tenant.name, "served_by": served.name if state.served else "",
            "other": other.name, **_counts(state),
        })
    return rows


def _counts(state: FillState) -> dict[str, int]:
    counts = asdict(state)
    del counts["served"]
    return {**counts, "pending": state.pending}


def _show(stores: Stores, found: PackUpgrade, *, json: bool) -> None:
    rows, pinned = _rows(stores, found), pinned_pack(stores.engine)
    if json:
        print_json({
            "former": found.former.name, "next": found.next.name,
            "deployment": pinned and pinned.name, "galleries": rows,
        })
        return
    print_notice(f"From {found.former} to {found.next}; the deployment's pack is {pinned}.")
    columns = ("app", "served_by", "other", "faces", "filled", "unfit", "pending")
    print_table(columns, ([row[column] for column in columns] for row in rows))


def _finish(stores: Stores, found: PackUpgrade, *, yes: bool) -> None:
    pinned = pinned_pack(stores.engine)
    assert pinned is not None, "an upgrade begins with a pack"
    rows = _rows(stores, found)
    apart = [row["app"] for row in rows if row["served_by"] not in ("", pinned.name)]
    if apart:
        raise UpgradeNotReady(
            f"The deployment's pack is {pinned.name!r}, and {', '.join(apart)} is served by the "
            "other one: run --switch or --rollback first."
        )
    if not yes:
        dropped = found.former if pinned.digest == found.next.digest else found.next
        typer.confirm(
            f"{pinned.name!r} stays, and the vectors of {dropped.name!r} are deleted: "
            f"{sum(row['filled'] for row in rows)} faces. There is no way back but embedding them "
            "again. Go on?", abort=True, err=True,
        )
    # First the vectors: stopped in between, the command is run again.
    print_notice(f"{drop_other_vectors(stores.engine)} vectors were deleted.")
    end_upgrade(stores.engine)
    drop_other_vectors(stores.engine)
    print_notice(
        f"The deployment's pack is {pinned}. Where FACELINE_PACK names the other one, change it "
        "before a process is restarted."
    )
