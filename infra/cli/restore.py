"""``faceline restore``: put a backup back, or check it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.backup_places import Place, open_store, shown_progress
from infra.cli.console import local_time, print_json, print_notice, print_table
from infra.cli.saved_keys import read_saved_keys
from infra.local.stack import take_lock
from pipeline.backup.deleted_since import GoneSubject
from pipeline.backup.manifest import BackupManifest
from pipeline.backup.place import BackupPlace
from pipeline.backup.restore import (
    DeploymentNotEmpty,
    RestoreReport,
    RestoreRun,
    list_backups,
    verify_backup,
)
from pipeline.config.settings import Settings, load_settings
from pipeline.database.clock import database_clock
from pipeline.database.engine import open_engine
from pipeline.deletions.journal import (
    JournalContent,
    JournalEntry,
    copy_entries,
    open_journal_store,
    read_journal,
    write_entry,
)
from pipeline.encryption.data_keys import SavedKey, decode_saved_keys
from pipeline.encryption.keyring import KeyFile, open_keyring
from pipeline.encryption.vault import Vault
from pipeline.errors import BackupUnusable, ConfigurationError, InvalidParameter
from pipeline.media.base import MediaStore
from pipeline.media.open import open_plain_media


def restore(
    place: Place,
    backup: Annotated[
        str | None, typer.Option(help="The (beginning of the) id of a backup; else the newest.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the backups; restore none.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and check the whole backup; restore nothing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the deployment that is there: it is lost.")
    ] = False,
    journal: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="Another copy of the deletion journal; repeatable."),
    ] = None,
    without_journal: Annotated[
        bool,
        typer.Option("--without-journal", help="Restore all: whoever was deleted since the backup "
                     "comes back."),
    ] = False,
    keys: Annotated[
        Path | None, typer.Option(help="The file of data keys, if the backup was made with one.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print who is deleted again as JSON.")
    ] = False,
) -> None:
    """Restore a backup into the configured database and media store, before the service starts.
    Whoever was deleted since the backup is deleted again, and named. Repeat it after an
    interruption."""
    settings = load_settings()
    opened = BackupPlace(open_store(place, settings))
    if show:
        _list(opened)
        return
    key = opened.find(backup)
    if verify:
        _verify(opened, key, settings)
        return
    lock = take_lock(settings.data.root)
    try:
        configured = open_journal_store(settings)
        copies = [open_store(each, settings, "--journal") for each in journal or []]
        content = _journal(configured, copies, opened, required=not without_journal)
        report = _run(
            settings, opened, key, content, _data_keys(opened, keys), replace=replace,
            bring_back=without_journal,
        )
        if report.brought_back:
            # A later restore must not delete them again.
            write_entry(configured, JournalEntry(
                kind="revoked", id=report.manifest.id, at=time.time(),
                ids=sorted({each.receipt_id for each in report.brought_back}),
            ))
        for copy in (*copies, opened.store):
            copy_entries(copy, configured)
    finally:
        lock.close()
    _tell(report, json=json)


def _run(
    settings: Settings, place: BackupPlace, key: str, content: JournalContent,
    data_keys: list[SavedKey], *, replace: bool, bring_back: bool,
) -> RestoreReport:
    engine = open_engine(settings.sql_url)
    try:
        with shown_progress() as report:
            run = RestoreRun(
                engine, open_plain_media(settings), _existing_vault(settings), place, content,
                data_keys, lambda name: settings.data.root / name, report,
                database_clock(engine), bring_back,
            )
            return run.run(key, replace=replace)
    except DeploymentNotEmpty as error:
        raise InvalidParameter(
            f"{error.message} To lose it for the backup: --replace"
        ) from error
    finally:
        engine.dispose()


def _existing_vault(settings: Settings) -> Vault:
    """The vault of the configured master key; a fresh one would fit no backup."""
    ring = open_keyring(settings)
    if isinstance(ring, KeyFile) and not ring.path.exists():
        raise ConfigurationError(
            f"the master key is missing: put it back to {ring.path}, or set FACELINE_MASTER_KEY"
        )
    return Vault(ring)


def _journal(
    configured: MediaStore, copies: list[MediaStore], place: BackupPlace, *, required: bool
) -> JournalContent:
    """The configured journal, with the copies that are named and the one beside the backup."""
    if required and not read_journal(configured, *copies).backups:
        raise BackupUnusable(
            "There is no deletion journal where FACELINE_JOURNAL_URL says: whoever was deleted "
            "since the backup would come back. Name a copy of it with --journal, or go on without "
            "it: --without-journal"
        )
    return read_journal(configured, *copies, place.store)


def _data_keys(place: BackupPlace, file: Path | None) -> list[SavedKey]:
    if file is not None:
        return read_saved_keys(file)
    return decode_saved_keys((place.data_keys() or b"").decode())


def _list(place: BackupPlace) -> None:
    rows: list[tuple[object, ...]] = []
    for backup_id, found in list_backups(place):
        if isinstance(found, BackupManifest):
            rows.append((backup_id, found.created_at, found.version, found.media.objects,
                         f"{found.media.bytes / 1e6:.1f}", len(found.missing), ""))
        else:
            rows.append((backup_id, "", "", "", "", "", found.message))
    print_table(("backup", "made", "version", "pictures", "megabytes", "missing", "error"), rows)


def _verify(place: BackupPlace, key: str, settings: Settings) -> None:
    try:
        vault = _existing_vault(settings)
    except ConfigurationError:
        vault = None
    with shown_progress() as report:
        found = verify_backup(place, key, vault, report)
    for damaged in found.damaged:
        print_notice(damaged, style="red")
    if found.damaged:
        raise BackupUnusable(f"{len(found.damaged)} parts of {found.manifest.id} are damaged")
    known = (
        "it was made under this master key" if found.authentic
        else "who made it cannot be told without the master key"
    )
    print_notice(f"Backup {found.manifest.id}: {found.blobs} parts are whole; {known}.")


def _tell(report: RestoreReport, *, json: bool) -> None:
    print_notice(
        f"Backup {report.manifest.id} of {report.manifest.created_at} is restored; "
        f"{report.objects} pictures were written."
    )
    if json:
        print_json([_row(each) for each in report.deleted_again])
    elif report.deleted_again:
        counted = Counter(each.kind.value for each in report.deleted_again)
        print_notice(
            "Deleted again, because they were deleted after the backup: "
            + ", ".join(f"{count} of kind {kind}" for kind, count in sorted(counted.items()))
        )
        columns = ("application", "kind", "id", "name", "deleted", "receipt")
        print_table(columns, (list(_row(each).values()) for each in report.deleted_again))
    if report.brought_back:
        print_notice(
            f"{len(report.brought_back)} faces, pictures and applications came back that were "
            "deleted after the backup.", style="yellow",
        )
    for batch in report.stopped:
        print_notice(
            f"The batch {batch} is cancelled: people of its source were deleted after the backup. "
            f"Take them out of the source, then: faceline batches retry {batch}", style="yellow",
        )


def _row(gone: GoneSubject) -> dict[str, object]:
    return {
        "application": gone.application, "kind": gone.kind.value, "id": gone.ref,
        "name": gone.name, "deleted": local_time(gone.deleted_at), "receipt": gone.receipt_id,
    }
