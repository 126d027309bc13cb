"""``faceline models``: lists, downloads and verifies model packs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.arguments import Json, Yes
from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.database import Stores, pack_here
from infra.cli.progress import download_bars
from pipeline.config.settings import load_settings
from pipeline.deployment.pack import foreign_galleries, pin_pack, pinned_pack
from pipeline.errors import PackMissing
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo
from pipeline.sessions.catalogue import INSIGHTFACE, licence_notice
from pipeline.sessions.checksums import verify as verify_pack
from pipeline.sessions.pull import pull

app = typer.Typer(help="Model packs: list, download, verify, choose.", no_args_is_help=True)


@app.command("list")
def list_packs(json: Json = False) -> None:
    """List the packs found, best first; `*` marks the one in use."""
    settings = load_settings()
    found = registry.available(settings)
    try:
        chosen = pack_here(settings).name
    except PackMissing as error:
        chosen = None
        print_notice(error.message, style="red")
    if json:
        print_json([{**pack_json(info), "served": info.name == chosen} for info in found])
        return
    print_table(
        ("", "pack", "tasks", "numbers", "where"),
        (
            (
                "*" if info.name == chosen else "", info.name, ", ".join(sorted(info.tasks)),
                info.dimension or "", info.path,
            )
            for info in found
        ),
    )
    for info in found:
        print_notice(f"{info.name}: {licence_notice(info)}")
    absent = [name for name in INSIGHTFACE if name not in {info.name for info in found}]
    if absent:
        print_notice(f"Available with `faceline models pull`: {', '.join(absent)}.")


@app.command("pull")
def pull_pack(
    name: Annotated[str, typer.Argument(help="buffalo_l, buffalo_s or buffalo_sc.")],
    to: Annotated[
        Path | None, typer.Option(help="Directory of packs; without it: the first searched.")
    ] = None,
) -> None:
    """Download an InsightFace pack; resumes an interrupted download."""
    settings = load_settings()
    directory = to or registry.search_paths(settings)[0]
    with download_bars(err) as progress:
        info = pull(name, directory, url=settings.models_url, progress=progress)
    print_notice(f"{info.name} is in {info.path}; every file has the SHA-256 that it must have.")
    print_notice(licence_notice(info))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="A pack; without one: all.")] = None,
) -> None:
    """Check the SHA-256 of every file of a pack."""
    settings = load_settings()
    found = [info for info in registry.available(settings) if name in (None, info.name)]
    if not found:
        places = ", ".join(str(place) for place in registry.search_paths(settings))
        raise PackMissing(
            f"no pack {name!r} in {places}; `faceline models list` shows the names"
            if name else f"no pack in {places}; run `faceline models pull buffalo_l`"
        )
    for info in found:
        with download_bars(err) as progress:
            verify_pack(info, progress)
        print_notice(f"{info.name}: {len(info.files)} files are what the pack states.")


@app.command()
def pin(
    name: Annotated[str, typer.Argument(help="A pack of this machine.")],
    yes: Yes = False,
) -> None:
    """Make a pack the one of the whole deployment, on purpose. Workers with another pack give
    their jobs back until they are restarted with this one."""
    stores = Stores()
    info = registry.choose(stores.settings.model_copy(update={"pack": name}))
    verify_pack(info)
    before = pinned_pack(stores.engine)
    if before is not None and before.digest == info.digest:
        print_notice(f"{info.name!r} is the deployment's pack already.")
        return
    if (others := foreign_galleries(stores.engine, info)) and not yes:
        names = ", ".join(f"{app} ({pack})" for app, pack in sorted(others.items()))
        typer.confirm(
            f"The faces of {names} were made with another pack. With {info.name!r} they can "
            "neither be searched nor added to until they are enrolled anew. Go on?",
            abort=True, err=True,
        )
    pin_pack(stores.engine, info)
    changed = f" instead of {before}" if before is not None else ""
    print_notice(
        f"The deployment's pack is {info.name!r} now{changed}. Restart its workers, with "
        f"FACELINE_PACK={info.name} where another one is set."
    )


def pack_json(info: PackInfo) -> dict[str, object]:
    """A pack as JSON."""
    return {
        "name": info.name, "kind": info.kind, "path": str(info.path),
        "tasks": sorted(info.tasks), "dimension": info.dimension,
        "licence": licence_notice(info),
    }
