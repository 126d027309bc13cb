"""``faceline secrets save-keys``, ``load-keys`` and ``strip-keys``: keep the tenants' data keys
apart from the backups of the data that they encrypt."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.console import print_notice
from infra.cli.database import Stores
from infra.cli.reports import open_output
from pipeline.config.settings import load_settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_keys import SavedKey, remove_keys, restore_keys, saved_keys
from pipeline.errors import InvalidParameter

File = Annotated[Path, typer.Argument(help="The file of keys.")]


def save(file: File) -> None:
    """Save the data keys of all applications, encrypted under the master key, in a file. Keep
    only the newest file, apart from other backups."""
    kept = saved_keys(Stores().engine)
    lines = [
        {
            "tenant": key.tenant_id, "key": base64.b64encode(key.wrapped).decode(),
            "state": key.state, "created_at": key.created_at,
        }
        for key in kept
    ]
    with open_output(file) as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
    print_notice(f"{len(kept)} keys are saved.")


def load(file: File) -> None:
    """Load saved keys into a database that was restored without them, before the service
    starts."""
    stores = Stores()
    try:
        saved = [_read(line) for line in file.read_text().splitlines()]
    except OSError as error:
        raise InvalidParameter(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidParameter(f"{file} is not a file of keys") from error
    print_notice(f"{restore_keys(stores.engine, stores.vault, saved)} keys are restored.")


def _read(line: str) -> SavedKey:
    values = json.loads(line)
    return SavedKey(
        int(values["tenant"]), base64.b64decode(values["key"]), str(values["state"]),
        float(values["created_at"]),
    )


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
