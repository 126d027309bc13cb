"""``MANIFEST.json``, which describes a directory of model files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from pipeline.errors import PackDamaged
from pipeline.sessions.base import ModelTask, PackFile, PackInfo

FILE_NAME = "MANIFEST.json"
KIND = "manifest"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Embedding(msgspec.Struct):
    dim: int = 0


class _File(msgspec.Struct):
    file: str
    task: str
    sha256: str
    license: str = "not stated"
    crop_scale: float = 0.0
    embedding: _Embedding | None = None


class _Manifest(msgspec.Struct):
    pack: str
    files: list[_File]


def read_manifest(directory: Path) -> PackInfo:
    """The pack in ``directory``, without files for unknown tasks. Raises ``PackDamaged``
    when the manifest cannot be read or a file is missing."""
    path = directory / FILE_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise PackDamaged(f"{path} cannot be read as a manifest: {error}.") from error
    known = [entry for entry in manifest.files if entry.task in set(ModelTask)]
    gone = [entry.file for entry in known if not (directory / entry.file).is_file()]
    if gone:
        raise PackDamaged(f"{directory} lacks {', '.join(gone)}, which its manifest names.")
    dimension = max(
        (entry.embedding.dim for entry in known if entry.embedding is not None), default=0
    )
    return PackInfo(
        name=manifest.pack,
        kind=KIND,
        path=directory,
        files=tuple(_pack_file(entry, path) for entry in known),
        dimension=dimension,
        scheme="arcface5",
    )


def _pack_file(entry: _File, manifest: Path) -> PackFile:
    if not _SHA256.fullmatch(entry.sha256):
        raise PackDamaged(f"{manifest} states no SHA-256 for {entry.file}.")
    if Path(entry.file).name != entry.file:
        raise PackDamaged(f"{manifest} names a file outside its directory: {entry.file!r}.")
    return PackFile(
        entry.file, ModelTask(entry.task), entry.sha256, entry.license, entry.crop_scale
    )


def write_manifest(info: PackInfo, origin: str, directory: Path) -> None:
    """Writes ``MANIFEST.json`` into ``directory``; ``origin`` is the source of the files."""
    files = [
        {
            "file": file.name,
            "task": file.task.value,
            "sha256": file.sha256,
            "origin": origin,
            "license": file.licence,
            **({"crop_scale": file.crop_scale} if file.crop_scale else {}),
            **(
                {"embedding": {"dim": info.dimension}} if file.task is ModelTask.RECOGNITION else {}
            ),
        }
        for file in info.files
    ]
    text = json.dumps({"pack": info.name, "files": files}, indent=2)
    (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")
