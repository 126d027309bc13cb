from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.config.settings import Settings
from pipeline.errors import (
    FaceError,
    FormatNotAccepted,
    NotAPicture,
    PictureCorrupt,
    PictureOutOfRange,
)
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.sandbox.sandbox import Sandbox, SandboxLimits
from pipeline.stages.decode import DECODE_FUNCTION, decode
from pipeline.types import Picture
from tests.mutations import mutated
from tests.unit import writers
from tests.unit.heif_files import (
    PREVIEW,
    PRIMARY,
    colours,
    cropped,
    heic,
    heic_grid,
    mirrored,
    turned_left,
)
from tests.unit.pictures import (
    HEIGHT,
    WIDTH,
    encoded,
    face_like,
    image,
    png_bomb,
    samples,
    turned,
)

LIMITS = PictureLimits.from_settings(Settings())
SAMPLES = samples()
OPAQUE = [
    name for name in SAMPLES
    if name.split()[0] not in ("heic", "avif") and "alpha" not in name and "rgba" not in name
]


def with_opencv(data: bytes) -> Picture:
    """As `cv2.imread` reads the file."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


def difference(a: Picture, b: Picture) -> float:
    """Mean absolute difference of two pictures of one size, in grey levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("name", SAMPLES)
def test_shape_and_kind(name: str) -> None:
    picture = decode(SAMPLES[name], LIMITS)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("name", OPAQUE)
def test_pixels_are_those_of_opencv(name: str) -> None:
    np.testing.assert_array_equal(decode(SAMPLES[name], LIMITS), with_opencv(SAMPLES[name]))


@pytest.mark.parametrize(
    ("name", "mode", "off"),
    [
        ("png", "RGB", 0), ("bmp", "RGB", 0), ("tiff", "RGB", 0), ("tiff lzw", "RGB", 0),
        ("tiff pages", "RGB", 0), ("webp lossless", "RGB", 0), ("webp animated", "RGB", 0),
        ("png animated", "RGB", 0), ("png colour 16", "RGB", 0), ("tiff cmyk", "RGB", 0),
        ("png grey", "L", 0), ("png grey 16", "L", 0), ("tiff grey 16", "L", 0),
        ("bmp grey", "L", 0), ("png palette", "P", 0), ("bmp palette", "P", 0),
        ("png bilevel", "1", 0), ("tiff fax", "1", 0), ("gif", "RGB", 12),
        ("gif animated", "RGB", 12), ("jpeg", "RGB", 6), ("jpeg progressive", "RGB", 6),
        ("jpeg grey", "L", 3), ("jpeg cmyk", "RGB", 6), ("webp", "RGB", 6),
        ("heic", "RGB", 1), ("heic grid", "RGB", 1), ("heic deep", "RGB", 2), ("avif", "RGB", 2),
        ("avif animated", "RGB", 2),
    ],
)
def test_what_was_stored_comes_out(name: str, mode: str, off: float) -> None:
    stored = np.asarray(image(mode).convert("RGB"))[:, :, ::-1]
    assert difference(decode(SAMPLES[name], LIMITS), stored) <= off


@pytest.mark.parametrize(
    "name", ["png rgba", "webp rgba", "tiff rgba", "png grey alpha", "avif rgba"]
)
def test_transparency_is_laid_over_white(name: str) -> None:
    faded = image("LA" if name == "png grey alpha" else "RGBA").convert("RGBA")
    white = Image.new("RGBA", faded.size, "white")
    expected = np.asarray(Image.alpha_composite(white, faded).convert("RGB"))[:, :, ::-1]
    picture = decode(SAMPLES[name], LIMITS)
    off = np.abs(picture.astype(int) - expected)
    assert off.mean() < 2 if name.startswith("avif") else off.max() <= 1
    assert picture[:, 0].min() == 255


@pytest.mark.parametrize("file_format", ["png", "gif"])
def test_a_transparent_palette_entry_is_white(file_format: str) -> None:
    palette = image().convert("P", palette=Image.Palette.ADAPTIVE)
    clear = palette.getpixel((0, 0))
    picture = decode(encoded(palette, file_format, transparency=clear), LIMITS)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[30, 40].tolist() != [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["jpeg", "png", "tiff", "webp"])
def test_exif_turn_is_applied_once(file_format: str, orientation: int) -> None:
    data = turned(file_format, orientation)
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGB")
    expected = np.asarray(upright)[:, :, ::-1]
    picture = decode(data, LIMITS)
    assert picture.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    np.testing.assert_array_equal(picture, expected)
    if file_format != "tiff":
        np.testing.assert_array_equal(picture, with_opencv(data))


def test_real_photos_equal_imread(test_data: Path) -> None:
    for path in sorted((test_data / "photos").glob("*.jpg")):
        expected = cv2.imread(str(path))
        assert expected is not None
        np.testing.assert_array_equal(decode(path.read_bytes(), LIMITS), expected)


# HEIC --------------------------------------------------------------------------


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("mirror_first", [False, True])
def test_turns_and_mirrors_in_their_order(
    quarters: int, axis: int | None, mirror_first: bool
) -> None:
    turn, mirror = turned_left(quarters), [] if axis is None else [mirrored(axis)]
    steps = [*mirror, turn] if mirror_first else [turn, *mirror]
    shown = face_like()
    for step in steps:
        if step == turn:
            shown = np.ascontiguousarray(np.rot90(shown, quarters))
        else:
            shown = shown[:, ::-1] if axis else shown[::-1]

    for make in (heic, lambda drawn, *rest, form: heic_grid(drawn, 32, *rest, form=form)):
        picture = decode(make(face_like(), *steps, form="yuv444p").to_bytes(), LIMITS)
        assert difference(picture, shown) < 1


@pytest.mark.parametrize("tile", [32, 40, 64, 100])
def test_a_grid_of_tiles(tile: int) -> None:
    picture = decode(heic_grid(face_like(), tile, form="yuv444p").to_bytes(), LIMITS)
    assert difference(picture, face_like()) < 1


def test_a_crop() -> None:
    data = heic(face_like(), cropped(WIDTH, HEIGHT, (10, 4, 80, 50)), form="yuv444p").to_bytes()
    assert difference(decode(data, LIMITS), face_like()[4:54, 10:90]) < 1
    header = inspect(data, LIMITS)
    assert (header.width, header.height) == (80, 50)


def test_a_picture_derived_from_another() -> None:
    """A tone map over the picture, as phones write for bright screens."""
    file = heic(face_like(), turned_left(1), form="yuv444p")
    file.add(PREVIEW, b"tmap", b"\0", sources=[PRIMARY])
    file.primary = PREVIEW
    assert difference(decode(file.to_bytes(), LIMITS), np.rot90(face_like())) < 1
    file.add(PREVIEW, b"tmap", b"\0", turned_left(1), sources=[PRIMARY])
    with pytest.raises(FormatNotAccepted):
        decode(file.to_bytes(), LIMITS)


def test_colours_as_the_file_states_them() -> None:
    plain = decode(heic(face_like(), form="yuv444p").to_bytes(), LIMITS)
    for matrix, full_range in ((1, False), (9, False), (6, True)):
        stated = heic(face_like(), colours(matrix, full_range=full_range), form="yuv444p")
        assert difference(decode(stated.to_bytes(), LIMITS), plain) > 1
    stated = heic(face_like(), colours(6, full_range=False), form="yuv444p")
    assert difference(decode(stated.to_bytes(), LIMITS), plain) == 0


@pytest.mark.parametrize("data", [
    heic(face_like()).to_bytes(), heic_grid(face_like(), 32).to_bytes(), SAMPLES["avif rgba"],
], ids=["heic", "grid", "avif"])
def test_a_sandbox_decodes_them_alike(data: bytes) -> None:
    limits = SandboxLimits.from_settings(Settings())
    with Sandbox([DECODE_FUNCTION], limits) as sandbox:
        np.testing.assert_array_equal(decode(data, LIMITS, sandbox), decode(data, LIMITS))


# Damage ------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_file_is_corrupt_and_never_half_a_picture(name: str) -> None:
    data, whole = SAMPLES[name], decode(SAMPLES[name], LIMITS)
    for percent in range(5, 100, 5):
        part = data[: len(data) * percent // 100]
        try:
            picture = decode(part, LIMITS)
        except (PictureCorrupt, NotAPicture):
            continue
        # TIFF keeps tables behind the pixels, an animation its later frames, HEIC its preview.
        if name.startswith("jpeg"):  # the lowest row of blocks, or the last refinement
            shown = HEIGHT - HEIGHT // 8
            assert difference(picture[:shown], whole[:shown]) < 6
            continue
        assert name.startswith(("tiff", "heic")) or name in ("gif animated", "avif animated")
        np.testing.assert_array_equal(picture, whole)


def test_half_a_photo_is_corrupt(test_data: Path) -> None:
    data = (test_data / "photos" / "obama.jpg").read_bytes()
    for end in (b"", bytes(1_000)):
        with pytest.raises(PictureCorrupt):
            decode(data[: len(data) // 2] + end, LIMITS)


def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "obama.jpg").read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_whose_tail_is_lost_is_shown(test_data: Path, options: dict[str, Any]) -> None:
    with Image.open(io.BytesIO(photo(test_data))) as opened:
        data = encoded(opened.convert("RGB"), "jpeg", **options)
    whole = decode(data, LIMITS)
    for lost in (1, 2, 3, 10, 60):
        picture = decode(data[:-lost], LIMITS)
        assert difference(picture[:-16], whole[:-16]) < 1
    with pytest.raises(PictureCorrupt):
        decode(data[: len(data) // 10], LIMITS)
    if "progressive" in options:  # cut in its last refinement
        assert difference(decode(data[: len(data) * 9 // 10], LIMITS), whole) < 3
    else:
        with pytest.raises(PictureCorrupt):
            decode(data[: len(data) * 9 // 10], LIMITS)


def test_a_jpeg_cut_in_its_colours_is_corrupt() -> None:
    """Scans of one component each, of which the last is cut."""
    data = encoded(image(), "jpeg", progressive=True)
    for scan in range(1, data.count(b"\xff\xda")):
        start = -1
        for _ in range(scan):
            start = data.index(b"\xff\xda", start + 1)
        with pytest.raises(PictureCorrupt):
            decode(data[: start + 20], LIMITS)


def test_a_live_photo_s_clip_behind_the_picture(test_data: Path) -> None:
    """Motion photos hold megabytes of video, in which anything occurs."""
    data = photo(test_data)
    behind = b"\xff\xda" * 5000 + b"\xff\xc0\0\x0b\x08" + random.Random(3).randbytes(10**6)
    np.testing.assert_array_equal(decode(data + behind, LIMITS), decode(data, LIMITS))


def test_two_pictures_in_one_file_show_the_first(test_data: Path) -> None:
    """As cameras (MPO) and phones (gain maps) write it."""
    data = photo(test_data)
    np.testing.assert_array_equal(
        decode(data + encoded(image("L"), "jpeg"), LIMITS), decode(data, LIMITS)
    )


def test_a_wrong_checksum_beside_the_pixels_is_no_harm_and_one_of_the_pixels_is() -> None:
    noted = writers.png(np.asarray(image()).astype(np.int64), 8, 2, chunks=[(b"tEXt", b"a\0b")])
    at = noted.index(b"tEXt") + 4 + 3
    wrong = noted[:at] + bytes(4) + noted[at + 4 :]
    assert wrong != noted
    np.testing.assert_array_equal(decode(wrong, LIMITS), decode(noted, LIMITS))
    at = noted.index(b"IDAT")
    body = at + 4 + int.from_bytes(noted[at - 4 : at], "big")
    with pytest.raises(PictureCorrupt):
        decode(noted[:body] + bytes(4) + noted[body + 4 :], LIMITS)


def test_a_bmp_without_its_last_padding() -> None:
    data = encoded(image().resize((95, 64)), "bmp")
    np.testing.assert_array_equal(decode(data[:-3], LIMITS), decode(data, LIMITS))
    with pytest.raises(PictureCorrupt):
        decode(data[:-4], LIMITS)


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_behind_the_picture_do_no_harm(name: str) -> None:
    picture = decode(SAMPLES[name] + b"\0" * 7 + b"behind", LIMITS)
    np.testing.assert_array_equal(picture, decode(SAMPLES[name], LIMITS))


def test_empty_and_foreign_bytes() -> None:
    for data in (b"", b"\0", b"no picture at all", b"\x7fELF" + bytes(100)):
        with pytest.raises(NotAPicture):
            decode(data, LIMITS)


def test_a_gif_frame_larger_than_its_screen() -> None:
    data = bytearray(SAMPLES["gif"])
    data[6:10] = struct.pack("<HH", 20, 20)
    with pytest.raises(PictureCorrupt):
        decode(bytes(data), LIMITS)


def test_random_bytes_give_our_errors_only() -> None:
    chance = random.Random(1)
    magics = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0", b"MM\0*")
    for _ in range(1_000):
        data = chance.choice(magics) + chance.randbytes(chance.randrange(600))
        with pytest.raises((NotAPicture, PictureCorrupt, PictureOutOfRange)):
            decode(data, LIMITS)


def decode_mutations(count: int) -> None:
    """Decode ``count`` damaged files; anything but our own errors is raised."""
    chance = random.Random(2)
    names = sorted(SAMPLES)
    for _ in range(count):
        try:
            picture = decode(mutated(SAMPLES[chance.choice(names)], chance), LIMITS)
        except FaceError:
            continue
        assert picture.dtype == np.uint8
        assert picture.ndim == 3


# Memory ------------------------------------------------------------------------


def peak_of(code: str) -> tuple[str, float]:
    """The output of the code in a process of its own, and that process's peak in MB."""
    program = (
        "import resource\n" + code
        + "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *said, peak = done.stdout.split()
    return " ".join(said), float(peak)


PRELUDE = """
from tests.unit import test_decode as t
"""


def test_a_thousand_mutations_in_bounded_memory() -> None:
    _, idle = peak_of(PRELUDE)
    _, peak = peak_of(PRELUDE + "t.decode_mutations(1_000)")
    # The largest picture within the limits takes 120 MB.
    assert peak - idle < 400


def test_a_bomb_is_refused_without_its_pixels(tmp_path: Path) -> None:
    bomb = png_bomb(20_000)
    assert len(bomb) < 1_100_000
    (tmp_path / "bomb.png").write_bytes(bomb)
    code = PRELUDE + f"""
data = open({str(tmp_path / "bomb.png")!r}, "rb").read()
try:
    t.decode(data, t.LIMITS)
except t.PictureOutOfRange as error:
    print(error.code)
"""
    _, idle = peak_of(PRELUDE)
    said, peak = peak_of(code)
    assert said == "picture_out_of_range"
    assert peak - idle < 20


def test_opencv_itself_has_the_cap() -> None:
    """Behind the header check: OpenCV must have read its cap when it was loaded."""
    code = """
import sys, pipeline, cv2, numpy
try:
    print(cv2.imdecode(numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8), 1).shape)
except cv2.error as error:
    print("CV_IO_MAX_IMAGE_PIXELS" in str(error))
"""
    environment = {
        name: value for name, value in os.environ.items() if name != "OPENCV_IO_MAX_IMAGE_PIXELS"
    }
    done = subprocess.run(
        [sys.executable, "-c", code], input=png_bomb(7_000), capture_output=True, check=True,
        env={**environment, "FACELINE_MAX_PIXELS": "1000000"},
    )
    assert done.stdout.strip() == b"True"


def test_the_face_is_lopsided() -> None:
    """Only a picture that differs from its mirror images shows a wrong turn."""
    face = face_like()
    for flipped in (face[::-1], face[:, ::-1], face[::-1, ::-1]):
        assert difference(face, flipped) > 10
