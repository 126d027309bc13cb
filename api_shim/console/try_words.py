"""What tries found, in words: the measures of a face, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_shim.admin.failure_words import QUALITY
from api_shim.console.failures import message_text
from api_shim.console.texts import Texts

Measures = Mapping[str, float]

WHICH = ("The first picture: %(message)s", "The second picture: %(message)s")

FACTS: tuple[tuple[str, str], ...] = (
    ("Size", "{size:.0f} px"), ("Sharpness", "{blur:.0f} / 100"),
    ("Brightness", "{brightness:.0f} / 255"), ("Contrast", "{contrast:.0f} / 127"),
    ("Turned aside", "{yaw:.0f}°"), ("Bent", "{pitch:.0f}°"), ("Tilted", "{roll:.0f}°"),
)


@dataclass(frozen=True, slots=True)
class FaceWords:
    """A face for people: its quality of 100, what is wrong with it, its measures."""

    score: str
    reasons: list[str]
    facts: list[tuple[str, str]]


def failure_words(texts: Texts, code: str, message: str, picture: int | None) -> str:
    """An error's own words, with the picture of several that it is about."""
    message = message_text(texts, code, message)
    if picture is None or picture >= len(WHICH):
        return message
    return texts.gettext(WHICH[picture]) % {"message": message}


def face_words(texts: Texts, face: Mapping[str, Any], limits: Measures) -> FaceWords:
    """A face of a described result."""
    quality: Measures = face["quality"]
    return FaceWords(
        texts.number(round(100 * quality["score"])),
        [_reason(texts, name, quality, limits) for name in face["failed"]],
        [
            *((texts.gettext(name), shape.format(**quality)) for name, shape in FACTS),
            (texts.gettext("Detector's score"), f"{face['score']:.2f}"),
        ],
    )


def _reason(texts: Texts, name: str, quality: Measures, limits: Measures) -> str:
    words = QUALITY[name]
    measure = texts.gettext(words.measure) % {
        "value": texts.number(round(abs(quality[name]), 1)),
        "least": texts.number(limits.get(f"min_{name}", 0.0)),
        "most": texts.number(limits.get(f"max_{name}", 0.0)),
    }
    return texts.join(texts.gettext(words.why), measure, texts.gettext(words.own))
