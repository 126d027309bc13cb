"""Finds model packs on disk, and chooses and loads one."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged, PackMissing
from pipeline.sessions import catalogue, manifest
from pipeline.sessions.base import ModelTask, Pack, PackInfo

LOG = logging.getLogger(__name__)

AUTO = "auto"

_DEFAULT_PLACES = ("models", "../shared/models", "~/.insightface/models")
_NEEDED = frozenset({ModelTask.DETECTION, ModelTask.RECOGNITION})

# Best first. A manifest pack of another name stands between `edge` and buffalo_sc.
_BEFORE_OTHERS = ("buffalo_l", "buffalo_s", "edge")
_AFTER_OTHERS = ("buffalo_sc", catalogue.DLIB)


def choose(settings: Settings) -> PackInfo:
    """The pack that the settings name; for ``auto`` the best complete one.

    Raises ``PackMissing`` with the searched directories and advice, and ``PackDamaged``
    when the manifest of the named pack cannot be used.
    """
    if settings.pack != AUTO:
        return _named(settings)
    complete = [info for info in available(settings) if info.tasks >= _NEEDED]
    if not complete:
        raise PackMissing(
            f"No model pack was found in {_searched(settings)}, and the packages dlib-bin and "
            "face-recognition-models are not installed. Run `faceline models pull buffalo_l` or "
            "install them."
        )
    return min(complete, key=lambda info: _rank(info.name))


def available(settings: Settings) -> list[PackInfo]:
    """Every pack found, best first. Of two packs with one name the first one counts.

    Logs and skips a directory with a broken manifest.
    """
    found: dict[str, PackInfo] = {}
    for directory in _directories(settings):
        try:
            info = _read(directory)
        except (PackDamaged, OSError) as error:
            LOG.warning("A model pack is skipped: %s", error, extra={"action": "pack_skipped"})
            continue
        if info is not None:
            found.setdefault(info.name, info)
    if (dlib := _dlib()) is not None:
        found.setdefault(dlib.name, dlib)
    return sorted(found.values(), key=lambda info: _rank(info.name))


def load(info: PackInfo, settings: Settings) -> Pack:
    """Opens the pack without loading its models yet.

    Call it after a fork, in the process that uses the pack. Raises ``ProviderUnavailable``
    when a configured execution provider is not available on this machine.
    """
    # The model libraries take most of a second and 100 MB: import them only here.
    if info.kind == catalogue.DLIB:
        from pipeline.sessions.dlib_pack import DlibPack

        return DlibPack(info)
    from pipeline.sessions.onnx_pack import OnnxPack

    return OnnxPack(info, settings)


def search_paths(settings: Settings) -> list[Path]:
    """The directories that are searched for packs, in order."""
    if settings.models:
        return [Path(settings.models).expanduser()]
    return [Path(place).expanduser() for place in _DEFAULT_PLACES]


def _named(settings: Settings) -> PackInfo:
    for info in available(settings):
        if info.name == settings.pack:
            return info
    for directory in _directories(settings):
        if directory.name == settings.pack:
            _explain(directory)
    advice = (
        f"Run `faceline models pull {settings.pack}`."
        if settings.pack in catalogue.INSIGHTFACE
        else "Install dlib-bin and face-recognition-models."
        if settings.pack == catalogue.DLIB
        else "Put its directory there, or point FACELINE_MODELS at it."
    )
    raise PackMissing(
        f"The model pack {settings.pack!r} was not found in {_searched(settings)}. {advice}"
    )


def _explain(directory: Path) -> None:
    """Raises the reason why a directory of the right name is not a pack."""
    if (directory / manifest.FILE_NAME).is_file() and directory.name not in catalogue.INSIGHTFACE:
        manifest.read_manifest(directory)
    needed = [
        file.name
        for file in catalogue.INSIGHTFACE.get(directory.name, ())
        if file.task in _NEEDED and not (directory / file.name).is_file()
    ]
    if needed:
        raise PackMissing(
            f"{directory} lacks {', '.join(needed)}, perhaps after an interrupted download. "
            f"Run `faceline models pull {directory.name}`."
        )


def _searched(settings: Settings) -> str:
    return ", ".join(str(place) for place in search_paths(settings))


def _rank(name: str) -> tuple[int, int, str]:
    if name in _BEFORE_OTHERS:
        return 0, _BEFORE_OTHERS.index(name), name
    if name in _AFTER_OTHERS:
        return 2, _AFTER_OTHERS.index(name), name
    return 1, 0, name


def _directories(settings: Settings) -> Iterator[Path]:
    """Directories that may be packs: the search paths and their subdirectories."""
    for place in search_paths(settings):
        try:
            inside = sorted(path for path in place.iterdir() if path.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            LOG.warning(
                "%s cannot be searched for model packs: %s", place, error.strerror,
                extra={"action": "pack_directory_skipped"},
            )
            continue
        yield place
        # A running download uses hidden directories.
        yield from (path for path in inside if not path.name.startswith("."))


def _read(directory: Path) -> PackInfo | None:
    """The pack in a directory, None when there is none. Raises ``PackDamaged``."""
    if directory.name in catalogue.INSIGHTFACE:
        return _insightface(directory)
    if (directory / manifest.FILE_NAME).is_file():
        return manifest.read_manifest(directory)
    return None


def _insightface(directory: Path) -> PackInfo | None:
    """An InsightFace pack with its existing files; None without a detector and a recognition
    model, as after an interrupted download."""
    whole = catalogue.insightface_pack(directory.name, directory)
    present = tuple(file for file in whole.files if (directory / file.name).is_file())
    info = replace(whole, files=present)
    return info if info.tasks >= _NEEDED else None


def _dlib() -> PackInfo | None:
    """The pack from PyPI. Does not import face_recognition_models, because that imports
    pkg_resources, which setuptools no longer has."""
    models = importlib.util.find_spec("face_recognition_models")
    if models is None or models.origin is None or importlib.util.find_spec("dlib") is None:
        return None
    directory = Path(models.origin).parent / "models"
    return PackInfo(
        catalogue.DLIB, catalogue.DLIB, directory, catalogue.DLIB_FILES,
        catalogue.DLIB_DIMENSION, "dlib5",
    )
