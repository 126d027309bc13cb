"""What each operation is asked for and what it answers: the neutral half of a dialect.

A dialect fills the parameters of an operation into ``Intent.params`` (``to_json()`` gives
the JSON object; keys of its own may stand beside) and renders the result that the job's
row keeps:

| operation  | pictures | parameters | errors of its own, beside NoFace |
|---|---|---|---|
| locate     | 1 | Locate  | NoFace only with ``face_required`` |
| verify     | 2 | none    | Uncalibrated |
| features   | 1 | none    | TaskUnsupported |
| enrol      | 1 | Enrol   | ManyFaces, BadQuality, FaceExists, CollectionNotFound, PackMismatch |
| replace    | 1 | Replace | ManyFaces, FaceNotFound, PackMismatch |
| match      | 1 | Match   | ManyFaces, FaceNotFound, PackMismatch, Uncalibrated |
| similarity | n | none    | ManyFaces, Uncalibrated |
| compare    | 2 | Compare | Uncalibrated; TaskUnsupported with ``liveness`` |
| living     | 1 | Living  | ClipCorrupt, ClipOutOfRange, ManyFaces, FaceNotFound, PackMismatch |
| matrix     | 2 | Matrix  | ManyFaces, ImageNotFound, Uncalibrated; what fetching raises |
| search     | 1 | Search  | CollectionNotFound, PackMismatch, Uncalibrated |

An error that a picture causes carries its index as ``picture``. Every result has

    "pack": name, "pictures": [{"width", "height", "faces": [FOUND, ...]}, ...]

where FOUND is ``{"box": [left, top, right, bottom], "score"}``, pixels of the upright
picture, largest face first. enrol, replace, compare and search add ``"quality": QUALITY``
to each face that they use, which are the first of the list. QUALITY is ``{"size"
(pixels), "blur" (0 to 100, larger is sharper), "brightness" (0 to 255), "contrast"
(0 to 127), "yaw", "pitch", "roll" (degrees), "score" (0 to 1, the whole in one
number)}``. Beside that:

| operation  | result |
|---|---|
| locate     | nothing more |
| verify     | "cosine", "confidence" (0 to 1), "distance" (0 to 1) |
| features   | "embedding": 512 numbers |
| enrol      | "created": whether a face is new, "image_id", "faces": [ENROLLED, ...] |
| replace    | "image_id", "face": ENROLLED |
| match      | "face_id", "cosine", "confidence", "distance" |
| similarity | "cosines", "confidences": of the pictures 2 to n against the first |
| compare    | as verify |
| matrix     | "cosines", "confidences": a row for each face of the first picture;
               "max_confidence"; "image_ids": of each picture, None for one that was not sent
               but stored before |
| search     | "hits": [HIT, ...] best first, "embedding" when asked for |
| living     | "face_id" and the fields of ``living.verdict.Verdict``; no "pictures" |

ENROLLED is ``{"id", "person_id", "face_token", "name", "gender", "image_id",
"description", "box", "face_key"}``. HIT is ENROLLED with ``"cosine"``, ``"confidence"``
and ``"collections": [{"key", "score"}, ...]``, all that the face is in (``score``: the
collection's own limit, 0 to 100). ``face_key`` names the JPEG of the cut-out face in the
media store.
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from pipeline.types import JsonObject

MAX_HITS = 100

# What dialects do with records alone; beside the operations on pictures (``PLANS``) these
# are the names by which limits, permissions and usage are kept.
RECORD_OPERATIONS = (
    "list", "show", "rename", "delete", "image", "delete_image", "clear",
    "groups", "create_group", "change_group", "delete_group", "group", "bind", "unbind",
    "batch",
)


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of an operation; what they do not name is the dialect's own."""

    def to_json(self) -> JsonObject:
        """They as JSON."""
        asked: JsonObject = msgspec.to_builtins(self)
        return asked

    @classmethod
    def from_json(cls, params: JsonObject) -> Self:
        """They from a job's row. Raises ``msgspec.ValidationError`` for what no dialect
        of this version writes."""
        return msgspec.convert(params, cls)


class LocateParams(Params, frozen=True, kw_only=True):
    """``face_required``: a picture without a face is ``NoFace``."""

    face_required: bool = False


class EnrolParams(Params, frozen=True, kw_only=True):
    """Keep faces of a picture.

    ``faces``: ``one`` (exactly one, else ``NoFace`` or ``ManyFaces``), ``largest`` or
    ``all`` (both: at least one). ``gate``: each must pass the quality limits, else
    ``BadQuality``. ``image_id``: the caller's name of the picture, at most 64 characters;
    None: 24 characters made of its MD5. ``name``: None leaves it to ``unnamed``: the
    empty name, ``ID0``, ``ID1``, ... unique in the tenant, or the time of the request as
    ``YYYYMMDDhhmmssSSS`` (UTC). ``collections``: the keys of those to bind the faces to.
    ``exists``, for a picture that is known: ``return`` its faces and bind these, or
    ``refuse`` with ``FaceExists``.
    """

    faces: Literal["one", "largest", "all"] = "one"
    gate: bool = False
    image_id: str | None = None
    description: str = ""
    name: str | None = None
    unnamed: Literal["empty", "number", "time"] = "empty"
    gender: str = ""
    collections: tuple[str, ...] = ()
    exists: Literal["return", "refuse"] = "return"


class ReplaceParams(Params, frozen=True, kw_only=True):
    """Give the face ``face_id`` the one face of another picture, and another ``name``
    when that is not None; it keeps its ids and collections."""

    face_id: int
    name: str | None = None


class MatchParams(Params, frozen=True, kw_only=True):
    """Compare the one face of a picture with the enrolled face ``face_id``."""

    face_id: int


class LivingParams(Params, frozen=True, kw_only=True):
    """Watch a clip: whether the ``action`` (1: blink, 2: open the mouth) is done by a live
    person, and whether that person is the enrolled face ``face_id``, at a distance below
    ``threshold`` (0 to 1)."""

    face_id: int
    action: Literal[1, 2]
    threshold: float


class CompareParams(Params, frozen=True, kw_only=True):
    """Compare two pictures' largest faces; ``liveness``: with how live each looks."""

    liveness: bool = False


class FetchedPictureLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a picture that is fetched may be, by its header; the web side checks the
    others."""

    max_bytes: int
    max_side: int
    formats: tuple[str, ...]


class MatrixParams(Params, frozen=True, kw_only=True):
    """Compare every face of a picture with every face of another.

    ``auto_rotate``: the pictures of which the upright turn is to be found from the faces.
    ``lifetime_s``: for how long those that were sent are stored. ``bounds`` hold for
    those that are fetched.
    """

    auto_rotate: tuple[bool, ...]
    lifetime_s: float
    bounds: FetchedPictureLimits


class SearchParams(Params, frozen=True, kw_only=True):
    """Find who is like the largest face.

    ``collections``: keys of those to search in; None: the whole gallery. ``k``: hits
    wanted, 1 to ``MAX_HITS``. ``embedding``: with the probe's vector in the result.
    ``liveness``: with how live the face looks.
    ``number`` is the service's, which fills it in: what the tenant had changed before
    this request is seen.
    """

    collections: tuple[str, ...] | None = None
    k: int = 1
    embedding: bool = False
    liveness: bool = False
    number: int = 0
