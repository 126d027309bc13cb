"""``faceline backup``: a copy of the deployment, made while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.backup_places import (
    Place,
    calibration_files,
    open_store,
    print_missing,
    shown_progress,
)
from infra.cli.console import print_notice
from infra.cli.database import Stores
from infra.cli.reports import open_output
from pipeline.backup.create import BackupRun, remove_older
from pipeline.backup.place import BackupPlace
from pipeline.database.clock import database_clock
from pipeline.deployment.version import program_version
from pipeline.media.open import open_plain_media


def backup(
    place: Place,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Then remove all but the newest N backups of this place."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="File for the data keys of encrypted applications, apart from the "
                     "backup; else the place holds those of the newest backup."),
    ] = None,
) -> None:
    """Copy database and pictures, while the service runs. Only what is new since the last backup
    is stored again; an interrupted backup is none, and the next one goes on with its parts. The
    master key is not in it: keep that in another place."""
    stores = Stores()
    opened = BackupPlace(open_store(place, stores.settings, make=True))

    def save_keys(data: bytes) -> None:
        assert keys is not None
        with open_output(keys) as stream:
            stream.write(data.decode())

    clock = database_clock(stores.engine)
    with shown_progress() as report:
        manifest = BackupRun(
            stores.engine, open_plain_media(stores.settings), stores.vault, stores.journal, opened,
            place, program_version(), report, clock, calibration_files(stores.settings),
            None if keys is None else save_keys,
        ).run()
    rows = sum(table.rows for table in manifest.tables.values())
    print_notice(
        f"Backup {manifest.id} of {manifest.created_at}: {rows} rows, {manifest.media.objects} "
        f"pictures, {manifest.media.bytes / 1e6:.1f} megabytes."
    )
    print_missing(manifest.missing)
    print_notice(
        f"It needs the master key {manifest.master_keys[0]}, and the journal of later deletions in "
        f"{stores.settings.journal_location}: keep both apart from the service."
    )
    if keep is not None:
        removed = remove_older(opened, stores.engine, keep, clock())
        print_notice(f"{len(removed)} older backups are removed.")
