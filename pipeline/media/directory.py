"""Media as files in one directory, for a single machine."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.disk_space import is_no_space, require_room
from pipeline.errors import MediaFull, MediaNotFound, MediaUnavailable
from pipeline.media.base import PROBE, MediaStore, StoredObject, check_bytes, check_key

INCOMING = ".incoming"
"""Directory of files in writing, before they are renamed; no key can start with a dot."""

ABANDONED_S = 3600  # a partial file of this age belongs to a dead process
PLACING_TRIES = 20  # attempts when concurrent deletions remove the target directory

# Files that are synced at the same time. A journal commits many at once: with 32 each one
# takes a tenth of the time that it takes alone.
SYNC_THREADS = 8
MAX_OPEN_FILES = 64


class DirectoryStore(MediaStore):
    """A ``MediaStore`` in a directory, which is created at the first write.

    A file is written beside the tree, synced to the disk and renamed into the tree, so that
    it exists whole or not at all after any crash.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cleared = False

    def put(self, key: str, data: bytes) -> None:
        self.put_many([(key, data)])

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        placed = [(self._path(key), data) for key, data in pairs]
        with map_file_errors():
            if not self._cleared:
                self._clear_abandoned()
            for start in range(0, len(placed), MAX_OPEN_FILES):
                self._put_some(placed[start : start + MAX_OPEN_FILES])

    def _put_some(self, placed: Sequence[tuple[Path, bytes]]) -> None:
        fresh = self._write(data for _, data in placed)
        try:
            for path, (target, _) in zip(fresh, placed, strict=True):
                self._place(path, target)
        except OSError:
            _remove(fresh)
            raise

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with map_file_errors():
            try:
                return check_bytes(key, path.read_bytes())
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                self._require_root()
                raise MediaNotFound(f"{key} is not stored") from error

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with map_file_errors():
            if path.is_file():
                return True
            self._require_root()
        return False

    def delete(self, key: str) -> None:
        path = self._path(key)
        with map_file_errors():
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            self._prune(path.parent)

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        if prefix:
            check_key(prefix.rstrip("/"))
        folder = prefix.rpartition("/")[0]
        with map_file_errors():
            yield from _walk(self._root / folder, f"{folder}/" if folder else "", prefix)

    def ping(self) -> None:
        with map_file_errors():
            _remove(self._write([b""]))

    def try_write(self) -> None:
        with map_file_errors():
            _remove(self._write([PROBE]))
            require_room(self._root / INCOMING)

    def prepare(self) -> bool:
        missing = not self._root.is_dir()
        self.ping()
        return missing

    def check_access(self) -> None:
        place = self._root
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise MediaUnavailable(f"{place} is no directory: correct FACELINE_MEDIA_URL.")
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise MediaUnavailable(
                f"This user may not write to {place}, or its file system is read-only: change its "
                "permissions, or correct FACELINE_MEDIA_URL."
            )
        with map_file_errors():
            require_room(place)

    def _clear_abandoned(self) -> None:
        """Remove partial files of dead processes."""
        self._cleared = True
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._root / INCOMING):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - ABANDONED_S:
                        Path(entry.path).unlink()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _write(self, datas: Iterable[bytes]) -> list[Path]:
        """Write and sync new files with these contents beside the tree."""
        incoming = self._root / INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        fresh: list[Path] = []
        try:
            with ExitStack() as opened:
                files = []
                for data in datas:
                    fresh.append(incoming / secrets.token_hex(16))
                    files.append(opened.enter_context(fresh[-1].open("xb")))
                    files[-1].write(data)
                    files[-1].flush()
                _sync([file.fileno() for file in files])
        except OSError:
            _remove(fresh)
            raise
        return fresh

    def _place(self, fresh: Path, target: Path) -> None:
        for tries_left in reversed(range(PLACING_TRIES)):
            try:
                # A concurrent delete may prune the directory between these steps.
                target.parent.mkdir(parents=True, exist_ok=True)
                fresh.replace(target)
            except (FileNotFoundError, FileExistsError):
                if not tries_left:
                    raise
            else:
                return

    def _prune(self, folder: Path) -> None:
        """Remove empty directories up to the root."""
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                return
            folder = folder.parent

    def _require_root(self) -> None:
        """Raise when not even the parent of the root exists: the disk is not mounted. A store
        that was never written to has no root either."""
        if not self._root.is_dir() and not self._root.parent.is_dir():
            raise MediaUnavailable(f"{self._root.parent} does not exist")


def _sync(files: Sequence[int]) -> None:
    """Syncs these files to the disk."""
    if len(files) == 1:
        os.fsync(files[0])
        return
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        for _ in pool.map(os.fsync, files):
            pass


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _walk(folder: Path, path: str, prefix: str) -> Iterator[StoredObject]:
    """Files below ``folder``, whose keys start with ``path``, in the order of S3: a directory
    sorts by its name with a slash."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    named = {
        entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""): entry
        for entry in entries
        if not entry.name.startswith(".")
    }
    for name in sorted(named):
        key = path + name
        if name.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from _walk(folder / name, key, prefix)
        elif key.startswith(prefix):
            with suppress(FileNotFoundError):
                status = named[name].stat()
                yield StoredObject(key=key, size=status.st_size, modified=status.st_mtime)


@contextmanager
def map_file_errors() -> Iterator[None]:
    """Translates errors of the file system into ``MediaUnavailable`` and ``MediaFull``."""
    try:
        yield
    except OSError as error:
        if is_no_space(error):
            raise MediaFull(f"The media directory has no space left: {error}") from error
        raise MediaUnavailable(f"The media directory cannot be used: {error}") from error
