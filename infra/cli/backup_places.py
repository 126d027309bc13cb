"""What the commands about backups share: opening a place, and showing progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.console import err, print_notice
from infra.cli.progress import text_bar
from infra.local.private_files import make_data_dir
from pipeline.backup.media_copy import Report
from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.media.base import MediaStore
from pipeline.media.open import open_location

Place = Annotated[
    str,
    typer.Argument(
        help="A directory, or a bucket: s3://bucket/folder, s3+http://host:port/bucket/folder."
    ),
]


def open_store(
    location: str, settings: Settings, what: str = "PLACE", *, make: bool = False
) -> MediaStore:
    """The store at a URL or in a directory, which ``make`` makes for its owner only. Raises
    ``InvalidParameter``, ``ConfigurationError``."""
    if "://" not in location:
        folder = Path(location).absolute()
        if make:
            make_data_dir(folder)
        if not folder.is_dir():
            raise InvalidParameter(f"there is no directory {folder}")
        location = f"file://{folder}"
    return open_location(location, settings, what)


@contextmanager
def shown_progress() -> Iterator[Report]:
    """Reports of progress go to a bar on stderr."""
    with text_bar(err) as update:
        yield lambda what, done, whole: update(f"{what}: {done} of {whole}", done, whole)


def print_missing(missing: Sequence[str]) -> None:
    if missing:
        print_notice(
            f"{len(missing)} stored pictures are missing from the media store, the first: "
            f"{missing[0]}", style="yellow",
        )


def calibration_files(settings: Settings) -> dict[str, Path]:
    """The operator's own calibration tables, by their names in a backup."""
    root = settings.data.root
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted((root / "calibration").glob("*.json"))
    }
