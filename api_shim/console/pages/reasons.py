"""Why a photo was refused, in words, and what to do."""

from __future__ import annotations

from api_shim.console.texts import Texts

REASONS = {
    "no_face": "No face was found. Use a photo in which the face is larger, and seen from the "
               "front.",
    "many_faces": "The photo shows several people. Cut it to one, or choose the largest face.",
    "bad_quality size": "The face is too small. Use a photo with more pixels, or from nearer.",
    "bad_quality blur": "The face is not sharp. Use another photo.",
    "bad_quality brightness": "The face is too dark or too bright. Use a photo in better light.",
    "bad_quality contrast": "The face has too little contrast. Use a photo in better light.",
    "bad_quality yaw": "The head is turned too far to the side.",
    "bad_quality pitch": "The head looks too far up or down.",
    "bad_quality roll": "The head is tilted too far.",
    "not_a_picture": "The file is no picture that can be read. Send a JPEG or PNG.",
    "format_not_accepted": "The file is no picture that can be read. Send a JPEG or PNG.",
    "picture_corrupt": "The file is cut off or damaged. Send it again.",
    "picture_out_of_range": "The picture has too few or too many pixels.",
    "media_too_large": "The file is too large.",
    "face_exists": "This photo is enrolled already.",
    "collection_not_found": "A collection that was chosen is gone.",
    "pack_mismatch": "The gallery was made with another model pack.",
    "uncalibrated": "The model pack has no calibration table: a score would mean nothing.",
    "job_cancelled": "The job was cancelled.",
    "job_crashed": "The photo made a worker crash, again and again.",
    "job_timed_out": "The photo took too long.",
    "overloaded": "The service is busy. Send the photo again in a moment.",
    "media_unavailable": "The media store is away. Send the photo again later.",
    "media_full": "The media store is full. Make room, then send the photo again.",
    "database_unavailable": "The database is away. Send the photo again later.",
}
"""English sentences by an error's code, with its word of detail where there is one."""


def explain(texts: Texts, code: str, reason: str, message: str) -> str:
    """A sentence about an error; its own message where there is none."""
    sentence = REASONS.get(f"{code} {reason}") or REASONS.get(code)
    return texts.gettext(sentence) if sentence else message
