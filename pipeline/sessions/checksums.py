"""Checks the SHA-256 of model files before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import PackDamaged
from pipeline.sessions.base import PackFile, PackInfo

# Large enough that hashing dominates the time, and small compared to any model.
_CHUNK_BYTES = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes done and its size in bytes."""


def file_sha256(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, lower-case hex. Raises ``OSError``."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(path.name, done, size)
    return digest.hexdigest()


def check_file(info: PackInfo, file: PackFile, progress: Progress | None = None) -> Path:
    """The path of a model file with the right checksum.

    Raises ``PackDamaged`` when the file is gone, cannot be read or is another one.
    """
    path = info.path / file.name
    try:
        found = file_sha256(path, progress)
    except OSError as error:
        raise PackDamaged(
            f"{path} of the pack {info.name!r} cannot be read: {error.strerror}."
        ) from error
    if found != file.sha256:
        raise PackDamaged(
            f"{path} has SHA-256 {found}, not {file.sha256} as the pack {info.name!r} states: "
            "the file is damaged or a different one. Download the pack again."
        )
    return path


def verify(info: PackInfo, progress: Progress | None = None) -> None:
    """Check every file of a pack. Raises ``PackDamaged`` at the first bad one."""
    for file in info.files:
        check_file(info, file, progress)
