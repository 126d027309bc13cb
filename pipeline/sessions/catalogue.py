"""The known packs: their files, tasks, checksums and licences.

Several projects agree on the SHA-256 values of the InsightFace files and archives, for the
`v0.7` and the `model-zoo` release of the InsightFace repository. The archives have not been
downloaded with this code yet. The dlib values come from the face-recognition-models 0.3.0
wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.sessions.base import ModelTask, PackFile, PackInfo

INSIGHTFACE_LICENCE = "non-commercial research (InsightFace model licence)"
CC0 = "CC0-1.0"

DLIB = "dlib"
"""Name and kind of the pack from PyPI."""

INSIGHTFACE_KIND = "insightface"
DLIB_DIMENSION = 128
INSIGHTFACE_DIMENSION = 512


@dataclass(frozen=True, slots=True)
class Release:
    """An archive of the InsightFace release: its size in bytes and its SHA-256."""

    archive: str
    size: int
    sha256: str


def _insightface(name: str, task: ModelTask, sha256: str) -> PackFile:
    return PackFile(name, task, sha256, INSIGHTFACE_LICENCE)


_DET_10G = _insightface(
    "det_10g.onnx", ModelTask.DETECTION,
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
)
_DET_500M = _insightface(
    "det_500m.onnx", ModelTask.DETECTION,
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
)
_W600K_R50 = _insightface(
    "w600k_r50.onnx", ModelTask.RECOGNITION,
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
)
_W600K_MBF = _insightface(
    "w600k_mbf.onnx", ModelTask.RECOGNITION,
    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
)
_EXTRAS = (
    _insightface(
        "2d106det.onnx", ModelTask.LANDMARK_106,
        "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
    ),
    _insightface(
        "1k3d68.onnx", ModelTask.LANDMARK_68,
        "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
    ),
    _insightface(
        "genderage.onnx", ModelTask.ATTRIBUTES,
        "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb",
    ),
)

INSIGHTFACE: dict[str, tuple[PackFile, ...]] = {
    "buffalo_l": (_DET_10G, _W600K_R50, *_EXTRAS),
    "buffalo_s": (_DET_500M, _W600K_MBF, *_EXTRAS),
    "buffalo_sc": (_DET_500M, _W600K_MBF),
}

RELEASES = {
    "buffalo_l": Release(
        "buffalo_l.zip", 288_621_354,
        "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
    ),
    "buffalo_s": Release(
        "buffalo_s.zip", 127_607_557,
        "d85a87f503f691807cd8bb97128bdf7a0660326cd9cd02657127fa978bab8b5e",
    ),
    "buffalo_sc": Release(
        "buffalo_sc.zip", 14_969_382,
        "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
    ),
}

DLIB_FILES = (
    # The file holds the five points; the detector itself is compiled into dlib.
    PackFile(
        "shape_predictor_5_face_landmarks.dat", ModelTask.DETECTION,
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888", CC0,
    ),
    PackFile(
        "dlib_face_recognition_resnet_model_v1.dat", ModelTask.RECOGNITION,
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30", CC0,
    ),
    PackFile(
        "shape_predictor_68_face_landmarks.dat", ModelTask.LANDMARK_68,
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        "CC0-1.0 by its author, but trained on iBUG 300-W pictures that forbid commercial use",
    ),
)


def insightface_pack(name: str, directory: Path) -> PackInfo:
    """The complete InsightFace pack ``name`` in ``directory``, whether installed or not."""
    return PackInfo(
        name, INSIGHTFACE_KIND, directory, INSIGHTFACE[name], INSIGHTFACE_DIMENSION, "arcface5"
    )


def licence_notice(info: PackInfo) -> str:
    """The notice about a pack's licences for an operator, to read before using it."""
    if info.kind == DLIB:
        return (
            "Models in the public domain (CC0) by their author; the 68-point landmark file was "
            "trained on iBUG 300-W pictures, whose licence forbids commercial use."
        )
    licences = {file.licence for file in info.files}
    if any("non-commercial" in licence for licence in licences):
        return (
            "InsightFace models in this pack are for non-commercial research only; commercial "
            "use needs a licence from InsightFace."
        )
    return f"Licences: {'; '.join(sorted(licences))}."
