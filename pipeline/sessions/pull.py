"""Downloads an InsightFace pack: resumes, verifies, unpacks and installs it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import urllib3

from pipeline.errors import DownloadFailed, PackDamaged, PackMissing
from pipeline.sessions import catalogue
from pipeline.sessions.base import PackFile, PackInfo
from pipeline.sessions.catalogue import Release
from pipeline.sessions.checksums import Progress, file_sha256, verify
from pipeline.sessions.manifest import write_manifest

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = (10.0, 30.0)
"""To connect, and between two chunks of the body."""

_MAX_FRUITLESS_TRIES = 5
"""Consecutive attempts without progress after which the download fails. An attempt that made
progress is resumed without limit."""

_LONGEST_PAUSE_S = 30.0

_LARGEST_MODEL = 1 << 30
"""Bytes. The largest file of the known packs has 174 MB."""

_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE, _TOO_MANY, _SERVER_ERROR = 200, 206, 416, 429, 500


def pull(
    name: str, directory: Path, *, url: str, progress: Progress | None = None, pause_s: float = 1.0
) -> PackInfo:
    """Downloads the InsightFace pack ``name`` into ``directory / name``.

    ``url`` is the address of the directory of archives. A partial download of an earlier
    call is kept beside the pack and resumed. A complete pack is left unchanged. ``pause_s``
    is the first of the doubling pauses between attempts.

    Raises ``PackMissing`` for an unknown name, ``DownloadFailed`` with advice.
    """
    if name not in catalogue.RELEASES:
        known = ", ".join(catalogue.RELEASES)
        raise PackMissing(f"There is no pack {name!r} to download; known packs: {known}.")
    release = catalogue.RELEASES[name]
    info = catalogue.insightface_pack(name, directory / name)
    if _is_whole(info, progress):
        return info
    address = f"{url.rstrip('/')}/{release.archive}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / f".{name}.lock"):
            archive = directory / f".{release.archive}.part"
            _download(address, archive, release, progress, pause_s)
            _unpack(archive, info, address)
            archive.unlink()
    except OSError as error:
        raise DownloadFailed(
            f"{directory} cannot be written: {error.strerror or error}. Free space or name "
            "another directory."
        ) from error
    return info


def _is_whole(info: PackInfo, progress: Progress | None) -> bool:
    if not info.path.is_dir():
        return False
    try:
        verify(info, progress)
    except PackDamaged:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Allows one process at a time to download a pack. The lock ends with its process. The
    file stays: removing it could remove the lock of another process."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadFailed(
                f"Another process is downloading this pack ({path} is locked); wait for it."
            ) from error
        yield


# Download ------------------------------------------------------------------------


def _download(
    address: str, part: Path, release: Release, progress: Progress | None, pause_s: float
) -> None:
    """Downloads into ``part`` until it has the release's size and checksum."""
    resumed = part.exists() and part.stat().st_size > 0
    _fill(address, part, release, progress, pause_s)
    found = file_sha256(part)
    if found != release.sha256 and resumed:
        # The partial file of an earlier call may belong to another file.
        part.unlink()
        _fill(address, part, release, progress, pause_s)
        found = file_sha256(part)
    if found != release.sha256:
        part.unlink()
        raise DownloadFailed(
            f"{address} has SHA-256 {found}, not {release.sha256}: it is not the file that this "
            "version of faceline expects, or was changed on the way. Nothing was installed."
        )


def _fill(
    address: str, part: Path, release: Release, progress: Progress | None, pause_s: float
) -> None:
    barren, reason = 0, ""
    part.touch()
    reached = part.stat().st_size
    while (have := part.stat().st_size) < release.size:
        if barren == _MAX_FRUITLESS_TRIES:
            raise DownloadFailed(
                f"{address} could not be downloaded: {reason}. {have} of {release.size} bytes are "
                "kept: run the same command again to resume, or download the archive by hand and "
                "unpack it into the models directory."
            )
        if barren:
            time.sleep(min(pause_s * 2 ** (barren - 1), _LONGEST_PAUSE_S))
        try:
            _fetch(address, part, release, progress)
            reason = "the server ended the response too early"
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = _plain(error)
        barren = 0 if part.stat().st_size > reached else barren + 1
        reached = max(reached, part.stat().st_size)
    if part.stat().st_size > release.size:
        part.unlink()
        raise DownloadFailed(
            f"{address} is larger than the {release.size} bytes of the known archive. Nothing "
            "was installed."
        )


def _fetch(address: str, part: Path, release: Release, progress: Progress | None) -> None:
    """Requests the missing bytes once. Raises an error of requests or urllib3 when another
    attempt may help, else ``DownloadFailed``."""
    have = part.stat().st_size
    # Ranges count the bytes of the file itself, not of a compressed transfer.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        _check_status(response, address, part)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code == _PARTIAL and not goes_on:
            raise requests.RequestException("the server sent another range than requested")
        # A server that ignores the range sends the whole file.
        done = have if response.status_code == _PARTIAL else 0
        with part.open("ab" if done else "wb") as stream:
            # iter_content would drop the last, incomplete chunk of a broken connection.
            while chunk := response.raw.read1(_CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(release.archive, min(done, release.size), release.size)
                if done > release.size:
                    return


def _check_status(response: requests.Response, address: str, part: Path) -> None:
    status = response.status_code
    if status in (_OK, _PARTIAL):
        return
    if status == _RANGE_NOT_SATISFIABLE:
        part.write_bytes(b"")
    if status in (_RANGE_NOT_SATISFIABLE, _TOO_MANY) or status >= _SERVER_ERROR:
        raise requests.RequestException(f"the server answered {status}")
    raise DownloadFailed(
        f"{address} answered {status}: there is no archive. Set FACELINE_MODELS_URL to the "
        "location of the InsightFace releases, or download it by hand."
    )


def _plain(error: requests.RequestException | urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection was interrupted"
    return str(error)


# Unpacking -------------------------------------------------------------------------


def _unpack(archive: Path, info: PackInfo, origin: str) -> None:
    """Installs all of the pack's files or, on an error, none."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{info.name}-", dir=info.path.parent))
    try:
        with zipfile.ZipFile(archive) as members:
            for file in info.files:
                _unpack_member(members, file, fresh)
        write_manifest(info, origin, fresh)
        fresh.chmod(0o755)  # mkdtemp allows this user only; the service may run as another
        _put_in_place(fresh, info.path)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError) as error:
        raise DownloadFailed(f"{origin} is not the archive of this pack: {error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unpack_member(members: zipfile.ZipFile, file: PackFile, directory: Path) -> None:
    """Unpacks one expected file by its plain name: paths in the archive are not used."""
    digest, size = hashlib.sha256(), 0
    with members.open(file.name) as source, (directory / file.name).open("wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > _LARGEST_MODEL:
                raise DownloadFailed(f"{file.name} in the archive is too large for a model.")
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != file.sha256:
        raise DownloadFailed(
            f"{file.name} in the archive has SHA-256 {digest.hexdigest()}, not {file.sha256}. "
            "Nothing was installed."
        )


def _put_in_place(fresh: Path, target: Path) -> None:
    """Renames the new directory to its final name, replacing an existing one."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        target.rename(old / target.name)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        fresh.rename(target)
