"""Observations of clips, kept on disk: tracking takes a second or two, a decision milliseconds.

A kept observation belongs to a recipe and to the source of everything else that its values depend
on: the generator and the tracking with its models. A change of a comment keeps it.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames

ROOT = Path(__file__).resolve().parents[2]

# What the pixels of a clip depend on, beside its recipe; and what is observed in them.
_CLIP_SOURCES = (
    "tests/clips.py",
    *(f"tests/presentations/{name}.py" for name in (
        "cameras", "courses", "edits", "manipulations", "media", "motions", "portraits", "studio",
    )),
)
_TRACKING_SOURCES = (
    "pipeline/types.py", "pipeline/stages/clip.py",
    *(f"pipeline/living/{name}.py" for name in ("stabilise", "tracking")),
    *(f"pipeline/sessions/{name}.py" for name in (
        "alignment", "antispoof", "contour_models", "contours", "onnx_pack", "scrfd",
        "scrfd_steps", "small_faces",
    )),
)


@dataclass(frozen=True, slots=True)
class ObservationCache:
    """Clips and observations in ``folder``. ``pack`` names the models' files by their content."""

    folder: Path
    pack: str
    limits: ClipLimits = field(default_factory=ClipLimits)

    def clip(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes of the clip ``name``, which ``make`` makes where they are not kept."""
        path = self._path("clips", name, _digest(_CLIP_SOURCES))
        if not path.is_file():
            _write(path, make())
        return path.read_bytes()

    def observations(
        self, name: str, make: Callable[[], bytes], models: Callable[[], LivenessModels]
    ) -> list[FrameObservation]:
        """The observations of the clip ``name``. Raises ``ClipOutOfRange``, ``ClipCorrupt`` and
        ``PackError``."""
        path = self.place(name)
        if not path.is_file():
            frames = decode_frames(self.clip(name, make), self.limits)
            _write(path, packed(list(FaceTracker(models()).track(frames))))
        return unpacked(path.read_bytes())

    def place(self, name: str) -> Path:
        """The file of the observations of the clip ``name``."""
        depends = _digest(_CLIP_SOURCES), _digest(_TRACKING_SOURCES), self.pack, repr(self.limits)
        return self._path("observations", name, *depends)

    def _path(self, kind: str, name: str, *depends: str) -> Path:
        key = hashlib.sha256("\n".join((name, *depends)).encode()).hexdigest()[:32]
        return self.folder / kind / key[:2] / key


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


@lru_cache(maxsize=4)
def _digest(sources: tuple[str, ...]) -> str:
    """The hash of what modules say, without comments and docstrings."""
    found = hashlib.sha256()
    for name in sources:
        tree = ast.parse((ROOT / name).read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
        found.update(ast.dump(tree).encode())
    return found.hexdigest()


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


# Dataclasses as JSON beside stacked arrays ----------------------------------------


def packed(observations: list[FrameObservation]) -> bytes:
    """The observations as an ``npz`` file: arrays of one shape and type as one array, all else as
    JSON."""
    groups: dict[str, list[NDArray[Any]]] = {}
    text = json.dumps(_plain(observations, groups)).encode()
    arrays = {name: np.stack(group) for name, group in groups.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_entry("values.json"), text)
        for name, array in arrays.items():
            raw = io.BytesIO()
            np.save(raw, array, allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), raw.getvalue())
    return file.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry of an archive, without the time at which it is made."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def unpacked(data: bytes) -> list[FrameObservation]:
    """The observations in a file of ``packed``."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        arrays = {
            name[:-4]: np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist() if name.endswith(".npy")
        }
        found = _rich(json.loads(archive.read("values.json")), arrays)
    assert isinstance(found, list)
    return found


def _plain(value: object, groups: dict[str, list[NDArray[Any]]]) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        assert _known()[name] is type(value), name
        return {"is": name, **{
            one.name: _plain(getattr(value, one.name), groups) for one in fields(value)
        }}
    if isinstance(value, np.ndarray):
        group = f"{value.dtype.str[1:]}_{'x'.join(map(str, value.shape))}"
        groups.setdefault(group, []).append(value)
        return {"is": "array", "of": group, "at": len(groups[group]) - 1}
    if isinstance(value, tuple):
        return {"is": "tuple", "of": [_plain(one, groups) for one in value]}
    if isinstance(value, list):
        return [_plain(one, groups) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    assert value is None or isinstance(value, (bool, int, float, str)), type(value)
    return value


def _rich(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_rich(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value["is"]
    if kind == "array":
        return arrays[value["of"]][value["at"]]
    if kind == "tuple":
        return tuple(_rich(one, arrays) for one in value["of"])
    given = {name: _rich(one, arrays) for name, one in value.items() if name != "is"}
    return _known()[kind](**given)


@lru_cache(maxsize=1)
def _known() -> dict[str, Any]:
    """The dataclasses that an observation is made of, by name."""
    found: dict[str, Any] = {}
    waiting: list[Any] = [FrameObservation]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and is_dataclass(one) and one.__name__ not in found:
            found[one.__name__] = one
            waiting.extend(get_type_hints(one).values())
        waiting.extend(get_args(one))
    return found
