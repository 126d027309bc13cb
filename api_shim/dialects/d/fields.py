"""Document d's operations, and the fields of each."""

from __future__ import annotations

import re

from api_shim.dialects.answers import AnswerField, optional
from api_shim.dialects.base import POST, Endpoint
from api_shim.dialects.fields import Schema, TextField, collection_key_field
from api_shim.dialects.media_fields import Base64Field
from pipeline.errors import CollectionNotFound, PersonNotFound
from pipeline.identifiers import TEXT_END
from pipeline.media.picture_formats import PictureFormat
from pipeline.operations import MAX_ENROLLED_FACES

MAX_BYTES = 2 * 1024 * 1024

FORMATS: frozenset[PictureFormat] = frozenset({"jpeg", "png", "bmp"})

MAX_HITS = 50

LEAST_CONFIDENCE = 80
"""Hits above this are listed; confidences are integers from 0 to 100."""

_PERSON_ID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


class PersonIdField(TextField):
    """The id of a person. Whether it is one is checked after the facedb: an unknown
    facedb is the error that the document lists first."""

    def describe(self) -> Schema:
        return {**TextField.describe(self), "pattern": f"^{_PERSON_ID}{TEXT_END}"}


def check_person_id(person_id: str) -> None:
    """Raises ``PersonNotFound`` for an id that no person can have."""
    if re.fullmatch(_PERSON_ID, person_id) is None:
        raise PersonNotFound


SEARCH_PATH = "/v1/searchface"

IMG = Base64Field("img", "JPEG, PNG or BMP of at most 2 MB.")
# Letters and digits of ASCII: every database and every client treats them alike.
NAME = TextField(
    "name", "At most 128 letters and digits; ID0, ID1, ... without one.", required=False,
    pattern="[0-9A-Za-z]{1,128}", rule="has at most 128 characters, letters and digits",
)
FACEDB = collection_key_field(
    "facedb", "A group of faces by its id.", required=False,
    wrong=lambda _: CollectionNotFound("no such facedb"),
)
PERSON_ID = PersonIdField("person_id", "As addface and searchface give it.")

POST = POST
_PERSON = (AnswerField("name"), AnswerField("person_id"))

ENDPOINTS = (
    Endpoint(
        "/v1/addface", POST, "addface", "enrol", "Add every face in a picture.",
        takes=(IMG, NAME, FACEDB),
        gives=(
            AnswerField("message", "objects", inside=_PERSON, title="DPerson"),
            optional(
                "left_out", "integer",
                f"How many faces were not added: only the {MAX_ENROLLED_FACES} largest are.",
            ),
        ),
    ),
    Endpoint(
        SEARCH_PATH, POST, "searchface", "search",
        "Find who is like the largest face in a picture.",
        takes=(IMG, FACEDB),
        gives=(
            AnswerField(
                "message", "objects", "Best first.", title="DSimilarPerson",
                inside=(
                    AnswerField("confidence", "integer", f"{LEAST_CONFIDENCE + 1} to 100."),
                    *_PERSON,
                ),
            ),
            optional("more", "boolean", f"true: more than {MAX_HITS} faces are similar."),
        ),
    ),
    Endpoint(
        "/v1/delface", POST, "delface", "delete", "Delete a face.",
        takes=(PERSON_ID, FACEDB), gives=(AnswerField("message"),),
    ),
)
