"""Document a's operations, and the fields of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from api_shim.body import BodyKind
from api_shim.dialects.answers import AnswerField
from api_shim.dialects.base import DELETE, GET, POST, PUT, Endpoint
from api_shim.dialects.fields import (
    BooleanField,
    IntegerField,
    NumberField,
    Raw,
    RequestField,
    Schema,
    TextField,
)
from api_shim.dialects.media_fields import Base64Field
from pipeline.errors import InvalidParameter
from pipeline.living.random_order import LEAST_ACTIONS, MOST_ACTIONS, USUAL_ACTIONS

DETECTION_PATH = "/api/detection"
LIVING_PATH = "/api/living"

# An addition to the document.
CHALLENGE_PATH = "/api/living/challenge"

# The document sets no bound on ``Fimg1..n``; every picture is decoded in one job.
MAX_PICTURES = 50

_NUMBERED = re.compile(r"Fimg([1-9][0-9]{0,8})")

_PICTURE = Base64Field("Fimg1").schema


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPictures(RequestField[tuple[str, ...]]):
    """``Fimg1`` to ``Fimgn``, from 1 without a gap, in Base64."""

    carries: BodyKind = BodyKind.PICTURES

    def reads(self, name: str) -> bool:
        return _NUMBERED.fullmatch(name) is not None

    def read(self, raw: Raw) -> tuple[str, ...]:
        numbers = sorted(int(match[1]) for match in map(_NUMBERED.fullmatch, raw) if match)
        expected = list(range(1, len(numbers) + 1))
        if numbers != expected or not 2 <= len(numbers) <= MAX_PICTURES:
            raise InvalidParameter(
                f"Fimg1 to Fimgn must start at 1 without a gap, with n from 2 to {MAX_PICTURES}"
            )
        return tuple(Base64Field(f"Fimg{number}").read(raw) for number in numbers)

    @property
    def object_members(self) -> Schema:
        more = "And so on without a gap, up to Fimg50."
        return {
            "properties": {
                "Fimg1": _PICTURE, "Fimg2": _PICTURE, "Fimg3": {**_PICTURE, "description": more},
            },
            "patternProperties": {"^Fimg([4-9]|[1-4][0-9]|50)$": _PICTURE},
            "propertyNames": {"pattern": "^(?!Fimg(5[1-9]|[6-9][0-9]|[1-9][0-9]{2,})$)"},
            "required": ["Fimg1", "Fimg2"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionField(IntegerField):
    """``Action``, which a challenge takes the place of."""

    def read(self, raw: Raw) -> int:
        if raw.get(CHALLENGE.name) and raw.get(self.name):
            raise self.wrong(f"{self.name} and {CHALLENGE.name} exclude each other")
        return IntegerField.read(self, raw)


APID = IntegerField("Apid", "The application's number.")
KVALUE = TextField("Kvalue", "The application's key.")
CREDENTIALS: tuple[RequestField[Any], ...] = (APID, KVALUE)

FID = IntegerField("Fid", "The face.")
FIMG = Base64Field("Fimg", "A picture.")
NEW_FIMG = Base64Field("Fimg", "Another picture.", required=False)
FNAME = TextField(
    "Fname", "The face's name, at most 255 characters; the time when it is empty.",
    required=False, max_chars=255,
)
NEW_FNAME = TextField(
    "Fname", "Another name, at most 255 characters.", required=False, max_chars=255
)
NUMBERED = NumberedPictures("Fimg")
FVIDEO = Base64Field(
    "Fvideo", "MP4, WebM, AVI or MOV; at most 20 MB and 30 s.", carries=BodyKind.CLIP
)
CHALLENGE = TextField(
    "Challenge", "A challenge of this application for this face, instead of an Action.",
    required=False, max_chars=64,
)
ACTION = ActionField(
    "Action", "1: blink; 2: open the mouth.", required=False, default=1, least=1, most=2,
)
ACTIONS = IntegerField(
    "Actions", "How many actions are asked for.", required=False, default=USUAL_ACTIONS,
    least=LEAST_ACTIONS, most=MOST_ACTIONS,
)
MIRRORED = BooleanField(
    "Mirrored", "Whether the clip will show the person as a mirror does.", required=False,
    default=False,
)
THRESHOLD = NumberField(
    "Threshold", "A match is a smaller distance.", required=False, default=0.6, least=0, most=1
)

_FACE = (AnswerField("Fid", "integer"), AnswerField("Fname"))

ENDPOINTS = (
    Endpoint(
        "/api/face", GET, "list", "list", "Every face of the application.",
        gives=(
            AnswerField(
                "faces", "objects", inside=(*_FACE, AnswerField("Apid", "integer")),
                title="AListedFace",
            ),
        ),
    ),
    Endpoint(
        "/api/face", POST, "enrol", "enrol", "Enrol the one face of a picture.",
        takes=(FNAME, FIMG), gives=_FACE,
    ),
    Endpoint(
        "/api/face", PUT, "change", "replace",
        "Give a face another picture, another name, or both.",
        takes=(FID, NEW_FNAME, NEW_FIMG), gives=_FACE,
    ),
    Endpoint("/api/face", DELETE, "delete", "delete", "Delete a face.", takes=(FID,), gives=_FACE),
    Endpoint("/api/singleface", GET, "show", "show", "One face.", takes=(FID,), gives=_FACE),
    Endpoint(
        "/api/similarity", POST, "similarity", "similarity",
        "How like the first picture each of the others is.",
        takes=(NUMBERED,),
        gives=(AnswerField("similarity", "numbers", "0 to 1, one less than there are pictures."),),
    ),
    Endpoint(
        DETECTION_PATH, POST, "locate", "locate", "Every face in a picture.",
        takes=(FIMG,),
        gives=(AnswerField("location", "boxes", "[top, right, bottom, left], largest first."),),
    ),
    # The document's sample says GET; a picture belongs into a POST.
    Endpoint(
        "/api/match", GET | POST, "match", "match",
        "Compare a picture with an enrolled face.",
        takes=(FID, THRESHOLD, FIMG), gives=(AnswerField("match", "boolean"),),
    ),
    Endpoint(
        LIVING_PATH, POST, "living", "living",
        "Whether a clip shows the action, or the actions of a challenge in their order, by the "
        "living person who is enrolled.",
        takes=(FID, THRESHOLD, ACTION, CHALLENGE, FVIDEO),
        gives=(AnswerField("match", "boolean"), AnswerField("real", "boolean")),
    ),
    Endpoint(
        CHALLENGE_PATH, POST, "challenge", "challenge",
        "A random order of actions for the next clip of a face.",
        takes=(FID, ACTIONS, MIRRORED),
        gives=(
            AnswerField("Challenge", about="Its id, for one clip of this face."),
            AnswerField(
                "Order", "strings",
                "Two to four of blink, mouth, turn_left, turn_right and nod; left and right are "
                "the person's own.",
            ),
            AnswerField("Seconds", "number", "By then the clip must have arrived."),
        ),
    ),
)
