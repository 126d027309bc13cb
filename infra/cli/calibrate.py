"""``faceline calibrate``: calibrates a pack with labelled faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.console import err, print_notice, print_table
from infra.cli.database import Stores, pack_here
from infra.cli.own_tables import deployed_table, fit_own_table
from infra.cli.progress import count_bar
from pipeline.calibration.measure import calibrate_folder, calibrate_pairs
from pipeline.calibration.table import Calibration, save_table, table_to_json
from pipeline.config.settings import Settings, load_settings
from pipeline.errors import InvalidParameter
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo

# False-match rates in the printed tables.
SHOWN = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
SHOWN_OF_OWN = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def calibrate(
    folder: Annotated[
        Path | None,
        typer.Option(help="FOLDER/PERSON/PICTURE: all pictures of two people are a pair each."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="CSV with the columns a, b (pictures) and same (1 or 0).")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the pictures of --pairs lie; without it: beside it.")
    ] = None,
    own: Annotated[
        str | None,
        typer.Option(metavar="APP", help="An application: its gallery's faces make its table."),
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Stands for FACELINE_PACK.")] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The pictures are crops on the ArcFace template.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the table to this file; without it: into the data directory."),
    ] = None,
) -> None:
    """Calibrate a pack: measure false-match rates with labelled pictures, or with the faces of an
    application's gallery.

    Takes --folder, --pairs or --own with a hundred people or more. A table in the data directory
    precedes the shipped one; that of --own makes the scores of its application alone.
    """
    if (folder, pairs, own).count(None) != 2:
        raise InvalidParameter("calibrate takes one of --folder, --pairs and --own")
    settings = load_settings()
    if pack is not None:
        settings = settings.model_copy(update={"pack": pack})
    if own is not None:
        _calibrate_own(own, pack_here(settings), settings, out)
        return
    info = pack_here(settings)
    loaded = registry.load(info, settings)
    with count_bar("pictures", err) as progress:
        if folder is not None:
            table = calibrate_folder(folder, loaded, progress, aligned=aligned)
        else:
            assert pairs is not None
            table = calibrate_pairs(pairs, root or pairs.parent, loaded, progress, aligned=aligned)
    _show(table)
    _write(table, settings, out)


def _calibrate_own(app: str, info: PackInfo, settings: Settings, out: Path | None) -> None:
    stores = Stores(settings)
    tenant = stores.tenants.by_name(app)
    table = fit_own_table(stores, tenant, info)
    _show(table)
    _compare(table, deployed_table(stores, info))
    _write(table, settings, out, tenant.id)


def _write(
    table: Calibration, settings: Settings, out: Path | None, tenant_id: int | None = None
) -> None:
    if out is None:
        written = save_table(table, settings.data_dir, tenant_id)
    else:
        written = out
        out.write_text(table_to_json(table), encoding="utf-8")
    print_notice(f"Written to {written}. Workers read it when they start.")


def _compare(own: Calibration, deployed: Calibration) -> None:
    print_notice(
        f"About {own.people} people; {own.suspects} pairs of different names or none are taken for "
        "one person. What the scores of the pack's table stand for among these faces:"
    )
    print_table(
        ("score", "promised rate", "rate here", "times", "cosine of the pack's", "cosine here"),
        (
            (
                f"{deployed.confidence(cosine):.2f}", f"{rate:.0e}", f"{own.fmr(cosine):.1e}",
                f"{own.fmr(cosine) / rate:.2g}", f"{cosine:.4f}", f"{own.cosine_at(rate):.4f}",
            )
            for rate, cosine in ((rate, deployed.cosine_at(rate)) for rate in SHOWN_OF_OWN)
        ),
    )


def _show(table: Calibration) -> None:
    print_notice(
        f"{table.pack}: {table.faces} faces, {table.impostor_pairs} pairs of different people; "
        f"measured down to a false-match rate of {table.measured_to:.0e}, extrapolated below."
    )
    print_table(
        ("false-match rate", "cosine", "confidence", "distance"),
        (
            (
                f"{rate:.0e}", f"{cosine:.4f}", f"{table.confidence(cosine):.2f}",
                f"{table.distance(cosine):.3f}",
            )
            for rate, cosine in ((rate, table.cosine_at(rate)) for rate in SHOWN)
        ),
    )
