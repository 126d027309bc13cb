"""What tries found, in words: measures, reasons, what to do after an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_shim.console.texts import Texts
from pipeline import errors

Measures = Mapping[str, float]

_SMALLER = "Save it with fewer pixels or as a JPEG, and drop it again."

ADVICE: dict[str, str] = {
    errors.MissingParameter.code: "Choose a file, then press the button.",
    errors.MediaTooLarge.code: _SMALLER,
    errors.PictureOutOfRange.code: _SMALLER,
    errors.NotAPicture.code: "Drop a picture, such as a JPEG or PNG.",
    errors.FormatNotAccepted.code: "Save it as a JPEG or PNG, and drop it again.",
    errors.PictureCorrupt.code:
        "The file was probably not copied whole: take it from its source again.",
    errors.NoFace.code:
        "Take the photo from nearer, upright and with light on the face; then try again.",
    errors.ManyFaces.code: "Cut out the person who is meant, or let only one into the picture.",
    errors.ClipCorrupt.code: "Send an MP4, WebM, MOV or AVI as the camera wrote it.",
    errors.ClipOutOfRange.code: "Record a shorter clip, of some seconds and at most 20 MB.",
    errors.FaceNotFound.code:
        "Look up the number on the face's page in the gallery, or leave the field empty.",
    errors.NotFound.code: "Choose an application from the list.",
    errors.Uncalibrated.code: "Run faceline calibrate, or serve a pack that has a table.",
    errors.TaskUnsupported.code: "Serve a pack that has the models for it; faceline models lists "
        "them.",
    errors.Overloaded.code: "Try again in a moment.",
    errors.MediaUnavailable.code: "Try again in a moment; System says what is away.",
    errors.DatabaseUnavailable.code: "Try again in a moment; System says what is away.",
    errors.JobCrashed.code: "The file ended its worker again and again: it is refused for good.",
    errors.JobTimedOut.code: "Try again when less is waiting; Jobs has the timeline.",
    errors.NotPermitted.code: "Ask an administrator to let your account see pictures of people.",
}
"""What to do after an error, by its code."""

WHICH = ("The first picture: %(message)s", "The second picture: %(message)s")

REASONS: dict[str, str] = {
    "size": "Too small: %(value)s pixels, and %(least)s are needed. Go nearer, or send the photo "
        "in its full size.",
    "blur": "Not sharp: %(value)s of 100, and %(least)s are needed. Hold the camera still, and "
        "wipe its lens.",
    "brightness": "Too dark or too bright: %(value)s, and %(least)s to %(most)s is good. Let more "
        "even light fall on the face.",
    "contrast": "Too pale: a contrast of %(value)s, and %(least)s is needed. Avoid fog, glare and "
        "light from behind.",
    "yaw": "Turned aside by %(value)s degrees, and %(most)s are allowed. Look into the camera.",
    "pitch": "Bent up or down by %(value)s degrees, and %(most)s are allowed. Hold the camera at "
        "the height of the eyes.",
    "roll": "Tilted by %(value)s degrees, and %(most)s are allowed. Hold the head upright.",
}
"""Why a gallery that checks quality refuses a face, by the limit that it fails."""

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


def advice(texts: Texts, code: str) -> str:
    """What to do after an error; empty where nothing is known."""
    return texts.gettext(ADVICE.get(code, ""))


def failure_words(texts: Texts, message: str, picture: int | None) -> str:
    """An error's own words, with the picture of several that it is about."""
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
    return texts.gettext(REASONS[name]) % {
        "value": texts.number(round(abs(quality[name]), 1)),
        "least": texts.number(limits.get(f"min_{name}", 0.0)),
        "most": texts.number(limits.get(f"max_{name}", 0.0)),
    }
