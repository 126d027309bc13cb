"""Files below a directory that nothing in it can lead out of.

Every step is opened relative to the one before and follows no symbolic link, so that a
link which is put in place between two looks changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InvalidParameter
from pipeline.sources.base import ItemRefused, RefusalReason, read_at_most, too_large

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Opening a pipe without a writer would wait for one.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """A descriptor of the directory that the operator named; it may be a link.
    Raises ``InvalidParameter``."""
    try:
        descriptor = os.open(root, DIRECTORY)
    except OSError as error:
        raise InvalidParameter(f"{root} cannot be read: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(name: str, directory: int) -> int:
    """A descriptor of ``enrolled_name`` in the open ``directory``. Raises ``ItemRefused``."""
    with _refuse_errors():
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def read_file(name: str, directory: int | None, limit: int) -> bytes:
    """The regular file ``enrolled_name`` in the open ``directory``, or, without one, at the path
    ``enrolled_name``, where links are followed. Raises ``ItemRefused``."""
    flags = FILE if directory is None else FILE | os.O_NOFOLLOW
    with _refuse_errors():
        descriptor = os.open(name, flags, dir_fd=directory)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ItemRefused(RefusalReason.NOT_A_FILE, file_kind(status.st_mode))
            if status.st_size > limit:
                raise too_large(limit)
            return read_at_most(file, limit)


def read_below(parts: Sequence[str], root: int, limit: int) -> bytes:
    """The file at the path ``parts`` below ``root``. Raises ``ItemRefused``."""
    directory = os.dup(root)
    try:
        for part in parts[:-1]:
            inner = open_directory(part, directory)
            os.close(directory)
            directory = inner
        return read_file(parts[-1], directory, limit)
    finally:
        os.close(directory)


def file_kind(mode: int) -> str:
    """What a file is that is neither regular nor a directory."""
    names = {
        stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }
    return names.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def _refuse_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal_of(error) from error
    except ValueError as error:  # a name with NUL
        raise ItemRefused(RefusalReason.UNSAFE_NAME, str(error)) from error


def _refusal_of(error: OSError) -> ItemRefused:
    if error.errno == errno.ELOOP:
        return ItemRefused(RefusalReason.LINK, "a link is not followed")
    if error.errno == errno.EISDIR:
        return ItemRefused(RefusalReason.NOT_A_FILE, "a directory")
    if error.errno == errno.ENOENT:
        return ItemRefused(RefusalReason.NOT_FOUND, "no such file")
    if error.errno == errno.ENOTDIR:
        # O_DIRECTORY with O_NOFOLLOW says this of a link, too.
        return ItemRefused(RefusalReason.LINK, "a part of the path is a link or no directory")
    return ItemRefused(RefusalReason.UNREADABLE, error.strerror or type(error).__name__)
