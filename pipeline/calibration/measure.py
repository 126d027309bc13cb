"""Measures a calibration table from labelled pictures, for ``faceline calibrate``."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.fit import MIN_IMPOSTOR_PAIRS, CalibrationSource, fit_pairs, fit_people
from pipeline.calibration.table import Calibration
from pipeline.errors import BadInput, InvalidParameter, NoFace
from pipeline.media.pictures import SMALLEST_SIDE, PictureLimits
from pipeline.sessions.base import Pack
from pipeline.sources.path_source import report_unreadable
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect_largest
from pipeline.stages.embed import embed
from pipeline.types import Crop, Picture

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and the total."""

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif",
})

# An operator's own files may be larger than files from outside, but must not have more pixels
# than OpenCV decodes (see pipeline/__init__.py).
OPERATOR_LIMITS = PictureLimits(
    max_bytes=256 * 1024 * 1024, min_side=SMALLEST_SIDE, max_side=30_000, max_pixels=40_000_000
)

BATCH = 64  # crops in memory


@dataclass(slots=True)
class EmbeddedPictures:
    """Embeddings of unit length by picture; ``left_out`` counts pictures without one."""

    vectors: dict[Path, NDArray[np.float32]] = field(default_factory=dict)
    left_out: int = 0


def calibrate_folder(
    folder: Path, pack: Pack, progress: Progress | None = None, *, aligned: bool = False
) -> Calibration:
    """Calibrates a pack with ``folder/PERSON/PICTURE``: pictures in different folders are
    pairs of different people.

    Uses the largest face of a picture, and counts pictures without a usable face.
    ``aligned`` pictures are crops on the ArcFace template: a pack trained on that template
    embeds them directly, any other pack detects the face in them. Raises
    ``InvalidParameter`` for too few pictures, ``PackError`` when the pack cannot embed.
    """
    if not folder.is_dir():
        raise InvalidParameter(f"{folder} is not a folder")
    pictures = sorted(
        path
        for person in folder.iterdir() if person.is_dir()
        for path in person.iterdir() if path.suffix.lower() in SUFFIXES
    )
    found = embed_files(pictures, pack, progress, aligned=aligned)
    return _fit_people(found, pack, folder.name)


def calibrate_pairs(
    table: Path, root: Path, pack: Pack, progress: Progress | None = None, *, aligned: bool = False
) -> Calibration:
    """Calibrates a pack with a CSV file with the columns ``a``, ``b`` (pictures relative to
    ``root``) and ``same`` (1 or 0).

    Most lists of pairs are too short for low rates. When the pictures lie in one folder per person
    (``same`` is 1 exactly for pictures of one folder), all pictures of different folders form
    pairs. Skips pairs with a picture without a usable face. Raises as ``calibrate_folder`` does.
    """
    pairs = list(_read_pairs(table))
    names = sorted({name for a, b, _ in pairs for name in (a, b)})
    found = embed_files([root / name for name in names], pack, progress, aligned=aligned)
    strangers = sum(not same for *_, same in pairs)
    if strangers < MIN_IMPOSTOR_PAIRS and _folders_are_people(pairs):
        return _fit_people(found, pack, table.name)
    vectors = {name: found.vectors.get(root / name) for name in names}
    cosines: list[float] = []
    truth: list[bool] = []
    for a, b, same in pairs:
        one, two = vectors[a], vectors[b]
        if one is not None and two is not None:
            cosines.append(float(one @ two))
            truth.append(same)
    return fit_pairs(cosines, truth, _source(pack, found, table.name))


def _folders_are_people(pairs: Iterable[tuple[str, str, bool]]) -> bool:
    folders = ((Path(a).parent, Path(b).parent, same) for a, b, same in pairs)
    return all((one == two) == same for one, two, same in folders)


def _fit_people(found: EmbeddedPictures, pack: Pack, origin: str) -> Calibration:
    """Fits a table to pictures with one folder per person."""
    labels = [str(path.parent) for path in found.vectors]
    vectors = np.array(list(found.vectors.values()), dtype=np.float32)
    return fit_people(vectors, labels, _source(pack, found, origin, people=len(set(labels))))


def embed_files(
    pictures: Iterable[Path], pack: Pack, progress: Progress | None = None, *, aligned: bool = False
) -> EmbeddedPictures:
    """Embeds the largest face of each picture. See ``calibrate_folder``."""
    paths = list(pictures)
    found = EmbeddedPictures()
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        crops = dict(_crops(batch, pack, aligned=aligned))
        vectors = embed(list(crops.values()), pack.embedder())
        found.vectors.update(zip(crops, vectors, strict=True))
        found.left_out += len(batch) - len(crops)
        if progress is not None:
            progress(len(found.vectors) + found.left_out, len(paths))
    return found


def _crops(paths: Iterable[Path], pack: Pack, *, aligned: bool) -> Iterator[tuple[Path, Crop]]:
    for path in paths:
        with report_unreadable(path):
            data = path.read_bytes()
        try:
            yield path, _crop(decode(data, OPERATOR_LIMITS), pack, aligned=aligned)
        except BadInput as error:
            log.info(
                "A picture is skipped: %s", error.message,
                extra={
                    "action": "calibration_picture_skipped", "file": path.name, "code": error.code,
                },
            )


def _crop(picture: Picture, pack: Pack, *, aligned: bool) -> Crop:
    if aligned and picture.shape[0] != picture.shape[1]:
        raise InvalidParameter("an aligned crop is square")
    if aligned and pack.info.scheme == "arcface5":
        return picture
    faces = detect_largest(picture, pack.detector())
    if not faces:
        raise NoFace
    return align_faces(picture, faces[:1], pack.embedder())[0]


def _read_pairs(table: Path) -> Iterator[tuple[str, str, bool]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield row["a"], row["b"], _truth(row)
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidParameter(
            f"{table} is not a list of pairs with the columns a, b and same: {error!r}"
        ) from error


def _truth(row: Mapping[str, str]) -> bool:
    if row["same"] not in ("0", "1"):
        raise InvalidParameter(f"the column same must be 0 or 1, not {row['same']!r}")
    return row["same"] == "1"


def _source(pack: Pack, found: EmbeddedPictures, origin: str, people: int = 0) -> CalibrationSource:
    return CalibrationSource(
        pack=pack.info.name, model=pack.info.recognition_model, dimension=pack.info.dimension,
        origin=origin, people=people, faces=len(found.vectors), left_out=found.left_out,
    )
