"""Files that are small to send and dear to open: refused, or opened at a small price.

Whatever they do, they do it in a sandbox whose limits decide, not a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import FaceError, PictureCorrupt
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.sandbox.messages import Decoded
from pipeline.sandbox.sandbox import Sandbox, SandboxLimits
from pipeline.stages.decode import DECODE_FUNCTION, decode
from pipeline.types import JsonObject, Picture
from tests.unit.bombs import DEFUSED, HOLLOW, REFUSED
from tests.unit.pictures import encoded, image

LIMITS = PictureLimits.from_settings(Settings())
MB = 1024 * 1024

INSPECT, OPEN = f"{__name__}:inspect_here", f"{__name__}:open_here"

# A refusal by the file's structure, and opening a small picture: a second of processor
# time, and less memory than one large picture takes.
CHEAP = SandboxLimits(input_bytes=12 * MB, output_bytes=MB, memory_bytes=64 * MB, seconds=1.0)


def inspect_here(data: bytes, options: JsonObject) -> Decoded:
    """The header alone, in a sandbox."""
    header = inspect(data, LIMITS)
    return Decoded([], {"size": [header.width, header.height]})


def open_here(data: bytes, options: JsonObject) -> Decoded:
    """The whole way to pixels, in a sandbox."""
    return Decoded([decode(data, LIMITS)])


@pytest.fixture(scope="module")
def cheap() -> Iterator[Sandbox]:
    with Sandbox([INSPECT, OPEN], CHEAP) as sandbox:
        yield sandbox


def opened(data: bytes, sandbox: Sandbox) -> Picture:
    [picture] = sandbox.run(OPEN, data, {}, output_bytes=MB).arrays
    return picture


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_its_structure(cheap: Sandbox, name: str) -> None:
    with pytest.raises(FaceError) as caught:
        cheap.run(INSPECT, REFUSED[name](), {}, output_bytes=0)
    assert caught.value.code in (
        "not_a_picture", "format_not_accepted", "picture_corrupt", "picture_out_of_range"
    )
    # Not because it ran into the limits.
    assert "memory" not in caught.value.message
    assert "took too long" not in caught.value.message


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 20
    assert {name.split()[0] for name in REFUSED} == LIMITS.formats


@pytest.mark.parametrize("name", HOLLOW)
def test_pixels_that_do_not_come(name: str) -> None:
    with (
        Sandbox([DECODE_FUNCTION], SandboxLimits.from_settings(Settings())) as sandbox,
        pytest.raises(PictureCorrupt, match="cut off or damaged"),
    ):
        decode(HOLLOW[name](), LIMITS, sandbox)


@pytest.mark.parametrize("name", DEFUSED)
def test_what_no_pixel_needs_is_left_away(cheap: Sandbox, name: str) -> None:
    mode = "L" if name.split()[0] in ("gif", "tiff") else "RGB"
    shown = np.asarray(image(mode).convert("RGB"))[:, :, ::-1].astype(int)
    picture = opened(DEFUSED[name](), cheap)
    off = 12 if name.startswith("jpeg") else 0
    assert np.abs(picture - shown).mean() <= off


def test_the_limits_would_have_told(cheap: Sandbox) -> None:
    """A picture that is just as it should be, but large, does not fit into ``CHEAP``."""
    large = encoded(image().resize((4_500, 4_500)), "png")
    assert decode(large, LIMITS).shape == (4_500, 4_500, 3)
    with pytest.raises(PictureCorrupt):
        opened(large, cheap)


KINDS: list[tuple[str, Callable[[], bytes]]] = [
    (name, bomb) for group in (REFUSED, DEFUSED) for name, bomb in group.items()
]


def test_bombs_are_small() -> None:
    """None is refused for its length."""
    for name, bomb in KINDS:
        assert len(bomb()) < LIMITS.max_bytes, name
