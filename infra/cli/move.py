"""``faceline move``: bring a deployment to another database and media store."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.cli.backup_places import calibration_files, print_missing, shown_progress
from infra.cli.console import print_notice
from infra.cli.database import Stores
from infra.local.stack import take_lock
from pipeline.backup.move import move as move_stores
from pipeline.config.settings import Settings, load_settings
from pipeline.database.engine import open_engine
from pipeline.deletions.journal import copy_entries, open_journal_store
from pipeline.errors import InvalidParameter
from pipeline.media.open import open_plain_media


def move(
    to: Annotated[
        list[str],
        typer.Option(metavar="URL", help="The new database (postgresql://...) or media store "
                     "(s3://bucket, s3+http://host:port/bucket); give both, or one."),
    ],
) -> None:
    """Copy this deployment to other stores, while it is stopped. All ids, credentials and
    numbers stay the same, and so does the master key. Nothing is removed here. The keys of the
    S3 store are those of the settings. Repeat it after an interruption."""
    settings = load_settings()
    target = _target(settings, to)
    lock = take_lock(settings.data.root)
    try:
        stores = Stores(settings)
        media = open_plain_media(settings)
        target_media, engine = open_plain_media(target), open_engine(target.sql_url)
        try:
            stores.journal.write_pending()
            with shown_progress() as report:
                moved = move_stores((stores.engine, media), (engine, target_media), report)
            copy_entries(stores.journal.store, open_journal_store(target))
        finally:
            engine.dispose()
    finally:
        lock.close()
    print_notice(
        f"Moved: {moved.rows['tenants']} applications, {moved.rows['faces']} faces, "
        f"{sum(moved.rows.values())} rows, {moved.objects} pictures."
    )
    print_missing(moved.missing)
    print_notice(
        "Start the service there with FACELINE_DATABASE_URL and FACELINE_MEDIA_URL set to the new "
        "stores and with the same master key"
        + (f" (the content of {settings.data.master_key})"
           if settings.data.master_key.exists() else "") + "."
    )
    if tables := calibration_files(settings):
        print_notice(
            f"Copy {settings.data.root / 'calibration'} to the data directory there: it has "
            f"{len(tables)} own calibration tables."
        )
    print_notice("Do not start the old one again: each would change its own copy.")


def _target(settings: Settings, urls: list[str]) -> Settings:
    """The settings with the new stores. Raises ``InvalidParameter``."""
    changed: dict[str, str] = {}
    for url in urls:
        name = "media_url" if urlsplit(url).scheme.startswith(("s3", "file")) else "database_url"
        if name in changed:
            raise InvalidParameter(f"--to names two stores of one kind: {changed[name]}, {url}")
        if name == "database_url":
            try:
                make_url(url)
            except ArgumentError as error:
                raise InvalidParameter(f"--to: {url} is not a URL of a store") from error
        changed[name] = url
    target = settings.model_copy(update=changed)
    if target.sql_url == settings.sql_url or target.media_location == settings.media_location:
        raise InvalidParameter("--to must name a new database and a new media store")
    return target
