"""``faceline calibrate``: calibrates a pack with labelled faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.console import err, print_notice, print_table
from infra.cli.progress import count_bar
from pipeline.calibration.measure import calibrate_folder, calibrate_pairs
from pipeline.calibration.table import Calibration, save_table, table_to_json
from pipeline.config.settings import load_settings
from pipeline.errors import InvalidParameter
from pipeline.sessions import registry

# False-match rates in the printed table.
SHOWN = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


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
    pack: Annotated[str | None, typer.Option(help="Stands for FACELINE_PACK.")] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The pictures are crops on the ArcFace template.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the table to this file; without it: into the data directory."),
    ] = None,
) -> None:
    """Calibrate a pack: measure false-match rates with labelled pictures.

    Takes --folder or --pairs with a hundred people or more. A table in the data directory
    precedes the shipped one.
    """
    if (folder is None) == (pairs is None):
        raise InvalidParameter("calibrate takes either --folder or --pairs")
    settings = load_settings()
    if pack is not None:
        settings = settings.model_copy(update={"pack": pack})
    info = registry.choose(settings)
    loaded = registry.load(info, settings)
    with count_bar("pictures", err) as progress:
        if folder is not None:
            table = calibrate_folder(folder, loaded, progress, aligned=aligned)
        else:
            assert pairs is not None
            table = calibrate_pairs(pairs, root or pairs.parent, loaded, progress, aligned=aligned)
    if out is None:
        written = save_table(table, settings.data_dir)
    else:
        written = out
        out.write_text(table_to_json(table), encoding="utf-8")
    _show(table)
    print_notice(f"Written to {written}. Workers read it when they start.")


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
