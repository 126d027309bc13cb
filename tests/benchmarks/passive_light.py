"""The passive score of dim pictures, as they are and brightened for the models.

    python -m tests.benchmarks.passive_light

Simulated: frames of live people and of spoofs lose light, as a sensor sees it (linear light, shot
noise of the electrons left, read noise), and are compressed. The faces are those of the bright
pictures. Brightening multiplies the linear light until the face has a usual mean.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.passive import passive_calibration
from pipeline.media.clips import ClipLimits
from pipeline.sessions.base import Pack
from pipeline.stages.clip import decode_frames
from pipeline.stages.detect import detect_largest
from pipeline.types import Box, Picture
from tests.benchmarks.passive_score import LIMIT, SHARED, mean_over_people
from tests.conftest import load_edge
from tests.presentations.people import Material

GAINS = (1.0, 0.3, 0.1, 0.05, 0.03)

# Electrons of a full pixel and of its read noise: a good and a bad small sensor.
SENSORS = {"good": (4000.0, 6.0), "bad": (1500.0, 10.0)}

# Longer side in pixels of the frames; mean grey value that brightening aims at; quality of JPEG.
_SIDE, _BRIGHT, _QUALITY = 400, 110, 70

_LEVELS = np.arange(256) / 255
_LINEAR = np.where(
    _LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4
).astype(np.float32)
_STEPS = 65_535
_GREY = np.interp(np.arange(_STEPS + 1) / _STEPS, _LINEAR, np.arange(256)).round().astype(np.uint8)

Linear = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A frame with the box of its face. ``person`` names the presentation of a spoof."""

    person: str
    live: bool
    picture: Picture
    box: Box


def samples(pack: Pack, material: Material, each: int, each_spoof: int) -> Iterator[Sample]:
    """Frames at equal distances of each clip, and the pictures of a live face and two spoofs."""
    for clip in material.clips().values():
        count = each_spoof if clip.replay else each
        wanted = set(np.linspace(0, clip.frames - 1, count + 1).astype(int).tolist()[:-1])
        limits = ClipLimits(max_seconds=60.0, work_seconds=3_600.0, rate=60.0, side=_SIDE)
        for frame in decode_frames(clip.path.read_bytes(), limits):
            faces = detect_largest(frame.picture, pack.detector()) if frame.index in wanted else []
            if faces:
                yield Sample(clip.person, not clip.replay, frame.picture, faces[0].box)
    for name, live in (("T1", True), ("F1", False), ("F2", False)):
        read = cv2.imread(str(material.faces / "spoof" / f"image_{name}.jpg"))
        assert read is not None
        scale = _SIDE / max(read.shape)
        picture = np.asarray(
            cv2.resize(read, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
        yield Sample(name, live, picture, detect_largest(picture, pack.detector())[0].box)


def dimmed(
    picture: Picture, gain: float, sensor: tuple[float, float], chance: np.random.Generator
) -> Picture:
    """With ``gain`` of its light, as a sensor (electrons of a full pixel, read noise) sees it."""
    full, read_noise = sensor
    electrons = _LINEAR[picture] * np.float32(gain * full)
    noise = np.sqrt(electrons + np.float32(read_noise**2))
    seen = electrons + noise * chance.standard_normal(electrons.shape, np.float32)
    data = cv2.imencode(".jpg", _as_picture(seen / full), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def brightened(picture: Picture, box: Box) -> Picture:
    """Multiplied in linear light until the face has the mean of a grey of ``_BRIGHT``."""
    light = float(_LINEAR[_face(picture, box)].mean())
    gain = float(_LINEAR[_BRIGHT]) / max(light, 1e-6)
    return picture if gain <= 1 else _as_picture(_LINEAR[picture] * np.float32(gain))


def _as_picture(light: Linear) -> Picture:
    return np.asarray(_GREY[(np.clip(light, 0, 1) * _STEPS).astype(np.int32)], np.uint8)


def _face(picture: Picture, box: Box) -> Picture:
    left, top, right, bottom = box.clipped_to(picture.shape[1], picture.shape[0])
    return picture[top:bottom, left:right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=4, help="frames of each live clip")
    parser.add_argument("--spoof", type=int, default=30, help="frames of each filmed screen")
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    scorer, calibration = pack.spoof_scorer(), passive_calibration(pack.info)

    def passes(picture: Picture, box: Box) -> bool:
        return calibration.score(scorer.score(picture, box)) >= LIMIT

    treatments: dict[str, Callable[[Picture, Box], Picture]] = {
        "as it is": lambda picture, box: picture, "brightened": brightened,
    }
    found: dict[tuple[str, float, bool, str], dict[str, list[bool]]] = defaultdict(
        lambda: defaultdict(list)
    )
    greys: dict[tuple[str, float], list[float]] = defaultdict(list)
    material = Material.beside(SHARED / "faces")
    for number, sample in enumerate(samples(pack, material, wanted.each, wanted.spoof)):
        for sensor, properties in SENSORS.items():
            for gain in GAINS:
                chance = np.random.default_rng([number, round(1000 * gain)])
                dark = dimmed(sample.picture, gain, properties, chance)
                greys[sensor, gain].append(float(_face(dark, sample.box).mean()))
                for name, treat in treatments.items():
                    found[sensor, gain, sample.live, name][sample.person].append(
                        passes(treat(dark, sample.box), sample.box)
                    )
    print("| sensor, light left (mean grey) | shown | pass as they are | pass brightened |")
    print("|---|---|---|---|")
    for (sensor, gain), values in greys.items():
        for live in (True, False):
            people = found[sensor, gain, live, "as it is"]
            print(
                f"| {sensor}, {gain:g} ({np.median(values):.0f}) | "
                f"{sum(map(len, people.values()))} of {len(people)} "
                f"{'people' if live else 'spoofs'} | "
                + " | ".join(
                    mean_over_people([float(np.mean(one)) for one in shown.values()])
                    for shown in (found[sensor, gain, live, name] for name in treatments)
                ) + " |"
            )


if __name__ == "__main__":
    main()
