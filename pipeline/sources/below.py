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
from pipeline.sources.base import ItemRefused, Reason, read_at_most, too_large

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Opening a pipe without a writer would wait for one.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened_root(root: Path) -> Iterator[int]:
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
    """A descriptor of ``name`` in the open ``directory``. Raises ``ItemRefused``."""
    with _refusing():
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def read_file(name: str, directory: int | None, limit: int) -> bytes:
    """The regular file ``name`` in the open ``directory``, or, without one, at the path
    ``name``, where links are followed. Raises ``ItemRefused``."""
    flags = FILE if directory is None else FILE | os.O_NOFOLLOW
    with _refusing():
        descriptor = os.open(name, flags, dir_fd=directory)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ItemRefused(Reason.NOT_A_FILE, kind(status.st_mode))
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


def kind(mode: int) -> str:
    """What a file is that is neither regular nor a directory."""
    names = {
        stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }
    return names.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(error) from error
    except ValueError as error:  # a name with NUL
        raise ItemRefused(Reason.UNSAFE_NAME, str(error)) from error


def _refused(error: OSError) -> ItemRefused:
    if error.errno == errno.ELOOP:
        return ItemRefused(Reason.LINK, "a link is not followed")
    if error.errno == errno.EISDIR:
        return ItemRefused(Reason.NOT_A_FILE, "a directory")
    if error.errno == errno.ENOENT:
        return ItemRefused(Reason.NOT_FOUND, "no such file")
    if error.errno == errno.ENOTDIR:
        # O_DIRECTORY with O_NOFOLLOW says this of a link, too.
        return ItemRefused(Reason.LINK, "a part of the path is a link or no directory")
    return ItemRefused(Reason.UNREADABLE, error.strerror or type(error).__name__)
