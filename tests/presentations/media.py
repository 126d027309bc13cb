"""What a picture is shown on: nothing, a print, a screen."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.types import Picture

Medium = Callable[[Picture], Picture]
"""The picture as it looks on the medium. It moves with the picture."""


def plain(shape: tuple[int, int], chance: np.random.Generator) -> Medium:
    return lambda picture: picture


def printed(shape: tuple[int, int], chance: np.random.Generator) -> Medium:
    """Ink on paper: less contrast and colour, a screen of dots, the paper's grain, a sheen."""
    height, width = shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = chance.uniform(0.2, 0.7), chance.uniform(2.2, 3.4)
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    dots = np.cos(2 * np.pi * u / period) * np.cos(2 * np.pi * v / period)
    grain = cv2.GaussianBlur(chance.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 0.8)
    x, y = chance.uniform(0, width), chance.uniform(0, height)
    sheen = np.exp(-(((across - x) / width) ** 2 + ((down - y) / height) ** 2) * 4)
    texture = chance.uniform(2, 5) * dots + chance.uniform(2, 4) * grain
    texture = (texture + chance.uniform(4, 20) * sheen)[:, :, None].astype(np.float32)
    low, high = chance.uniform(12, 30), chance.uniform(205, 240)
    colour, blur = float(chance.uniform(0.7, 0.9)), float(chance.uniform(0.4, 0.9))

    def show(picture: Picture) -> Picture:
        soft = cv2.GaussianBlur(picture, (0, 0), blur).astype(np.float32)
        grey = soft.mean(axis=2, keepdims=True)
        ink = low + (grey + colour * (soft - grey)) * np.float32((high - low) / 255)
        return np.asarray(np.clip(ink + texture, 0, 255), np.uint8)

    return show


def screened(shape: tuple[int, int], chance: np.random.Generator) -> Medium:
    """A display: its gamma and tint, rows of pixels, bands of moire, a reflection."""
    height, width = shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    strength, period = chance.uniform(0.01, 0.05), chance.uniform(2.05, 3.3)
    rows = np.cos(2 * np.pi * down / period)[:, :, None]
    stripes = np.stack(
        [np.cos(2 * np.pi * (across / period + step / 3)) for step in range(3)], axis=2
    )
    angle, long = chance.uniform(0, np.pi), chance.uniform(0.05, 0.25) * width
    bands = np.cos(2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)) / long)
    factor = (
        1 + strength * (rows + stripes) + chance.uniform(0.005, 0.03) * bands[:, :, None]
    ).astype(np.float32)
    x, y = chance.uniform(0, width), chance.uniform(0, height)
    size = chance.uniform(0.1, 0.4)
    spot = np.exp(-(((across - x) / width) ** 2 + ((down - y) / height) ** 2) / size**2)
    glare = (chance.uniform(0, 45) * spot)[:, :, None].astype(np.float32)
    tint = np.array([chance.uniform(1.0, 1.1), 1.0, chance.uniform(0.92, 1.0)])
    light = (255 * (np.arange(256) / 255) ** chance.uniform(0.9, 1.3))[:, None] * tint
    table = np.clip(light, 0, 255).astype(np.uint8)[None]

    def show(picture: Picture) -> Picture:
        shown = cv2.LUT(picture, table).astype(np.float32)
        return np.asarray(np.clip(shown * factor + glare, 0, 255), np.uint8)

    return show


LIVE, PRESS, PRINT, SCREEN = "live frame", "press photo", "print", "screen"

MEDIA: dict[str, Callable[[tuple[int, int], np.random.Generator], Medium]] = {
    LIVE: plain,
    PRESS: plain,
    PRINT: printed,
    SCREEN: screened,
}
