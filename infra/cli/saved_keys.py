"""``faceline secrets save-keys``, ``load-keys`` and ``strip-keys``: keep the tenants' data keys
apart from the backups of the data that they encrypt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.console import print_notice
from infra.cli.database import Stores
from infra.cli.reports import open_output
from pipeline.config.settings import load_settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_keys import (
    SavedKey,
    decode_saved_keys,
    encode_saved_keys,
    remove_keys,
    restore_keys,
    saved_keys,
)
from pipeline.errors import InvalidParameter

File = Annotated[Path, typer.Argument(help="The file of keys.")]


def save(file: File) -> None:
    """Save the data keys of all applications, encrypted under the master key, in a file. Keep
    only the newest file, apart from other backups."""
    kept = saved_keys(Stores().engine)
    with open_output(file) as stream:
        stream.write(encode_saved_keys(kept))
    print_notice(f"{len(kept)} keys are saved.")


def load(file: File) -> None:
    """Load saved keys into a database that was restored without them, before the service
    starts."""
    stores = Stores()
    restored = restore_keys(stores.engine, stores.vault, read_saved_keys(file))
    print_notice(f"{restored} keys are restored.")


def read_saved_keys(file: Path) -> list[SavedKey]:
    """The keys in a file of ``save``. Raises ``InvalidParameter``."""
    try:
        return decode_saved_keys(file.read_text())
    except (OSError, UnicodeDecodeError, InvalidParameter) as error:
        raise InvalidParameter(f"{file} is not a file of keys: {error}") from error


def strip(copy: Annotated[Path, typer.Argument(help="A copy of the SQLite database.")]) -> None:
    """Remove the data keys from a copy of the database that is kept as a backup."""
    if not copy.is_file():
        raise InvalidParameter(f"there is no file {copy}")
    url = f"sqlite:///{copy.absolute()}"
    if load_settings().sql_url == url:
        raise InvalidParameter("that is the database itself: give a copy of it")
    engine = open_engine(url)
    try:
        print_notice(f"{remove_keys(engine)} keys are removed from {copy}.")
    finally:
        engine.dispose()
