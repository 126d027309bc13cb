"""Opens files below a directory such that nothing inside it can lead outside.

Every path component is opened relative to the previous one (``openat``) and no symbolic
link is followed, so replacing a component with a link between two calls has no effect.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.sources.base import ItemRefused, RefusalReason, read_at_most, too_large
from pipeline.sources.path_source import report_unreadable

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Non-blocking, because opening a pipe would wait for a writer.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """A descriptor of the directory that the operator named, which may be a link. Raises
    ``InvalidParameter``."""
    with report_unreadable(root):
        descriptor = os.open(root, DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(name: str, directory: int) -> int:
    """A descriptor of ``name`` in the open ``directory``. Raises ``ItemRefused``."""
    with _refuse_errors():
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def read_file(name: str, directory: int | None, limit: int) -> bytes:
    """The regular file ``name`` in the open ``directory``; without a directory, the file at
    the path ``name``, following links. Raises ``ItemRefused``."""
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
    """The kind of a file that is not a regular one, as text."""
    names = {
        stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }
    return names.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def _refuse_errors() -> Iterator[None]:
    """Translates ``OSError`` and ``ValueError`` to ``ItemRefused``."""
    try:
        yield
    except OSError as error:
        raise _refusal_of(error) from error
    except ValueError as error:  # a name with NUL
        raise ItemRefused(RefusalReason.UNSAFE_NAME, "a name that no file can have") from error


def _refusal_of(error: OSError) -> ItemRefused:
    if error.errno == errno.ELOOP:
        return ItemRefused(RefusalReason.LINK, "links are not followed")
    if error.errno == errno.EISDIR:
        return ItemRefused(RefusalReason.NOT_A_FILE, "a directory")
    if error.errno == errno.ENOENT:
        return ItemRefused(RefusalReason.NOT_FOUND, "no such file")
    if error.errno == errno.ENOTDIR:
        # With O_DIRECTORY and O_NOFOLLOW a link has this error, too.
        return ItemRefused(RefusalReason.LINK, "a part of the path is a link or no directory")
    return ItemRefused(RefusalReason.UNREADABLE, error.strerror or type(error).__name__)
