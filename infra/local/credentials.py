"""Files that hold the credentials of an application."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from infra.local.private_files import write_private
from pipeline.accounts.credential_set import Credentials
from pipeline.errors import ConfigurationError


def save_credentials(path: Path, credentials: Credentials) -> None:
    """Saves credentials in a file that only this user can read."""
    write_private(path, json.dumps(asdict(credentials), indent=2) + "\n")


def load_credentials(path: Path) -> Credentials | None:
    """The credentials in a file; None without a file. Raises ``ConfigurationError`` for any
    other contents."""
    try:
        return Credentials(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no credentials ({error}); remove it") from error
