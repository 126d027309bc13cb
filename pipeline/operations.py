"""The parameters, the plan and the result of each operation.

A dialect fills the parameters of an operation (``to_json()`` gives the JSON object of the
job's row; the dialect's own keys may stand beside them), and renders the result that the
row keeps. A plan is the ordered list of an operation's stages. This module imports no
model, so that the web side can use it.

| operation  | pictures | parameters | errors of its own, beside NoFace |
|---|---|---|---|
| locate     | 1 | LocateParams  | NoFace only with ``face_required`` |
| verify     | 2 | none          | Uncalibrated |
| features   | 1 | none          | TaskUnsupported |
| enrol      | 1 | EnrolParams   | ManyFaces, BadQuality, FaceExists, CollectionNotFound,
                                   PackMismatch |
| replace    | 1 | ReplaceParams | ManyFaces, FaceNotFound, PackMismatch |
| match      | 1 | MatchParams   | ManyFaces, FaceNotFound, PackMismatch, Uncalibrated |
| similarity | n | none          | ManyFaces, Uncalibrated |
| compare    | 2 | CompareParams | Uncalibrated; TaskUnsupported with ``liveness`` |
| living     | 1 | LivingParams  | ClipCorrupt, ClipOutOfRange, ManyFaces, FaceNotFound,
                                   PackMismatch |
| matrix     | 2 | MatrixParams  | ManyFaces, ImageNotFound, Uncalibrated; what fetching raises |
| search     | 1 | SearchParams  | CollectionNotFound, PackMismatch, Uncalibrated |

An error that a picture causes carries the picture's index as ``picture``. Every result has

    "pack": name, "pictures": [{"width", "height", "faces": [FOUND, ...]}, ...]

where FOUND is ``{"box": [left, top, right, bottom], "score"}``, in pixels of the upright
picture, largest face first. enrol, replace, compare and search add ``"quality": QUALITY``
to each face that they use, which are the first of the list. locate and matrix with
``describe`` add it to every face, beside ``"points"`` (five [x, y]), ``"failed"`` (the
names of the limits of enrolment that the face fails) and, once, ``"limits"`` themselves.
QUALITY is ``{"size"
(pixels), "blur" (0 to 100, larger is sharper), "brightness" (0 to 255), "contrast"
(0 to 127), "yaw", "pitch", "roll" (degrees), "score" (0 to 1, all of it in one
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
               but stored before; with ``describe`` "fmrs" beside the confidences, and
               "measured_to", the lowest rate that was counted |
| search     | "hits": [HIT, ...] best first, "embedding" when asked for |
| living     | "face_id" and the fields of ``living.verdict.LivenessVerdict``; no "pictures" |

ENROLLED is ``{"id", "person_id", "face_token", "name", "gender", "image_id",
"description", "box", "face_key"}``. HIT is ENROLLED with ``"cosine"``, ``"confidence"``
and ``"collections": [{"key", "score"}, ...]``, every collection of the face (``score``: the
collection's own limit, 0 to 100). ``face_key`` names the JPEG of the cut-out face in the
media store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self

import msgspec

from pipeline.types import ALL_FACES, AnalysisOptions, JsonObject

# The operations of dialects on records alone. Beside the operations on pictures (``PLANS``) these
# are the names under which limits, permissions and usage are kept.
RECORD_OPERATIONS = (
    "list", "show", "rename", "delete", "image", "delete_image", "clear",
    "groups", "create_group", "change_group", "delete_group", "group", "bind", "unbind",
    "batch", "challenge",
)


class Stage(StrEnum):
    """A step that can have machines of its own; the value names its queue."""

    FETCH = "fetch"
    DECODE = "decode"
    DETECT = "detect"
    EMBED = "embed"
    INDEX = "index"
    LIVENESS = "liveness"
    BULK = "bulk"


# The stages that a worker serves unless its settings name some: all but three. Fetching waits for
# foreign servers, the index holds the galleries in one process, bulk yields to other work.
FUSED_STAGES = tuple(
    stage for stage in Stage if stage not in (Stage.FETCH, Stage.INDEX, Stage.BULK)
)


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of an operation; keys that they do not name are the dialect's own."""

    def to_json(self) -> JsonObject:
        """The parameters as JSON."""
        fields: JsonObject = msgspec.to_builtins(self)
        return fields

    @classmethod
    def from_json(cls, params: JsonObject) -> Self:
        """The parameters of a job's row. Raises ``msgspec.ValidationError`` for
        parameters that no dialect of this version writes."""
        return msgspec.convert(params, cls)


class FetchedPictureLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits on the header of a fetched picture. The web side checks the pictures that
    a request brings."""

    max_bytes: int
    max_side: int
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How an operation is carried out.

    ``analysis`` is what is wanted of the faces of each picture; ``auto_rotate`` lists the
    pictures whose upright turn is found from them. ``dimension`` is the length of embedding
    that the answer promises, None for any. ``fetched_limits`` hold for fetched pictures. With
    ``clip`` the one picture is a clip. A job with ``retry_forever`` waits for as long as
    anything but its pictures prevents it: a store that is away, a pack that is not the
    gallery's. ``adapt`` gives the plan for the parameters of one job.
    """

    operation: str
    stages: tuple[Stage, ...]
    analysis: AnalysisOptions = ALL_FACES
    dimension: int | None = None
    auto_rotate: tuple[bool, ...] = ()
    fetched_limits: FetchedPictureLimits | None = None
    clip: bool = False
    retry_forever: bool = False
    adapt: Callable[[Plan, JsonObject], Plan] | None = None

    def for_params(self, params: JsonObject) -> Plan:
        """The plan as the parameters of one job want it."""
        return self if self.adapt is None else self.adapt(self, params)

    def analysis_of(self, picture: int) -> AnalysisOptions:
        """What is wanted of the picture at this index."""
        if not self.auto_rotate:
            return self.analysis
        return replace(self.analysis, auto_rotate=self.auto_rotate[picture])

    def first_stage(self, params: JsonObject) -> Stage:
        """Where a job with these parameters begins: at fetching only when one of its
        pictures is to be fetched. ``params["fetch"]`` then has one entry a picture, its
        URL or None."""
        urls = params.get("fetch")
        if self.stages[0] is Stage.FETCH and not (isinstance(urls, list) and any(urls)):
            return self.stages[1]
        return self.stages[0]

    def next_stage(self, stage: Stage) -> Stage | None:
        """The stage after ``stage``; None after the last."""
        after = self.stages.index(stage) + 1
        return self.stages[after] if after < len(self.stages) else None


_LOCATING = (Stage.DECODE, Stage.DETECT)
_EMBEDDING = (*_LOCATING, Stage.EMBED)
_SEARCHING = (*_EMBEDDING, Stage.INDEX)

# Locating and comparing ------------------------------------------------------------


class LocateParams(Params, frozen=True, kw_only=True):
    """``find``: all faces, or the largest only. ``face_required``: a picture without a face is
    ``NoFace``. ``describe``: with what is known of each face, for people."""

    find: Literal["all", "largest"] = "all"
    face_required: bool = False
    describe: bool = False


def _adapt_locate(plan: Plan, params: JsonObject) -> Plan:
    asked = LocateParams.from_json(params)
    return replace(plan, analysis=AnalysisOptions(
        find=asked.find, face_required=asked.face_required, measure_all=asked.describe
    ))


# Of an answer that mentions no other face than the largest, and of one for which a second face
# is an error.
_LARGEST = AnalysisOptions(find="largest", face_required=True, embed_faces=1)
_ONLY = AnalysisOptions(find="main", face_required=True, max_faces=1, embed_faces=1)

LOCATE = Plan("locate", _LOCATING, adapt=_adapt_locate)
VERIFY = Plan("verify", _EMBEDDING, _LARGEST)
FEATURES = Plan("features", _EMBEDDING, _LARGEST, dimension=512)
SIMILARITY = Plan("similarity", _EMBEDDING, _ONLY)


class CompareParams(Params, frozen=True, kw_only=True):
    """Compare two pictures' largest faces; ``liveness``: with how live each looks."""

    liveness: bool = False


def _adapt_liveness(plan: Plan, params: JsonObject) -> Plan:
    wanted = CompareParams.from_json(params).liveness
    return replace(plan, analysis=replace(plan.analysis, score_liveness=wanted))


COMPARE = Plan(
    "compare", _EMBEDDING, replace(_LARGEST, measure_quality=True), adapt=_adapt_liveness
)


class MatchParams(Params, frozen=True, kw_only=True):
    """Compare the one face of a picture with the enrolled face ``face_id``."""

    face_id: int


MATCH = Plan("match", _EMBEDDING, _ONLY)


# The largest faces of each picture that are compared for people to look at: a table of more
# cannot be read.
MAX_COMPARED_FACES = 24


class MatrixParams(Params, frozen=True, kw_only=True):
    """Compare every face of a picture with every face of another.

    ``auto_rotate``: the pictures whose upright turn is found from their faces.
    ``lifetime_s``: for how long those that were sent are stored; 0: they are not. ``bounds``:
    the limits on fetched pictures. ``describe``: every face, however small, of any number of
    which the ``MAX_COMPARED_FACES`` largest are compared, with what is known of each.
    """

    auto_rotate: tuple[bool, ...]
    lifetime_s: float
    bounds: FetchedPictureLimits
    describe: bool = False


def _adapt_matrix(plan: Plan, params: JsonObject) -> Plan:
    asked = MatrixParams.from_json(params)
    analysis = plan.analysis
    if asked.describe:
        analysis = AnalysisOptions(
            face_required=True, embed_faces=MAX_COMPARED_FACES, measure_all=True
        )
    return replace(
        plan, analysis=analysis, auto_rotate=asked.auto_rotate, fetched_limits=asked.bounds
    )


MATRIX = Plan(
    "matrix", (Stage.FETCH, *_EMBEDDING),
    AnalysisOptions(find="main", face_required=True, max_faces=4, embed_faces=4),
    adapt=_adapt_matrix,
)

# Galleries -------------------------------------------------------------------------

# The largest faces of one picture that are enrolled: their crops stay below 10 MB.
MAX_ENROLLED_FACES = 256

MAX_HITS = 100


class EnrolParams(Params, frozen=True, kw_only=True):
    """Keep faces of a picture.

    ``faces``: ``one`` (exactly one, else ``NoFace`` or ``ManyFaces``), ``largest`` or
    ``all`` (both: at least one). ``gate``: each must pass the quality limits, else
    ``BadQuality``. ``image_id``: the caller's name of the picture, at most 64 characters;
    None: 24 characters made of its MD5. ``name``: None leaves it to ``unnamed``: the
    empty name, ``ID0``, ``ID1``, ... unique in the tenant, or the time of the request as
    ``YYYYMMDDhhmmssSSS`` (UTC). ``collections``: the keys of those to bind the faces to.
    ``exists``, for a picture that is known: ``return`` its faces and bind these, ``refuse``
    with ``FaceExists``, or ``add`` faces of this name unless it has them.
    """

    faces: Literal["one", "largest", "all"] = "one"
    gate: bool = False
    image_id: str | None = None
    description: str = ""
    name: str | None = None
    unnamed: Literal["empty", "number", "time"] = "empty"
    gender: str = ""
    collections: tuple[str, ...] = ()
    exists: Literal["return", "refuse", "add"] = "return"


def enrolment_analysis(
    faces: Literal["one", "largest", "all"], *, gate: bool = False
) -> AnalysisOptions:
    """What an enrolment wants of a picture; see ``EnrolParams``."""
    find: Literal["all", "main", "largest"] = "main" if faces == "one" else faces
    return AnalysisOptions(
        find=find, face_required=True,
        max_faces=1 if faces == "one" else 0,
        embed_faces=MAX_ENROLLED_FACES if faces == "all" else 1,
        measure_quality=True, quality_gate=gate, cut_faces=True,
    )


def _adapt_enrol(plan: Plan, params: JsonObject) -> Plan:
    asked = EnrolParams.from_json(params)
    return replace(plan, analysis=enrolment_analysis(asked.faces, gate=asked.gate))


ENROL = Plan("enrol", _EMBEDDING, enrolment_analysis("one"), adapt=_adapt_enrol)


class ReplaceParams(Params, frozen=True, kw_only=True):
    """Give the face ``face_id`` the one face of another picture, and another ``name``
    when that is not None; it keeps its ids and collections."""

    face_id: int
    name: str | None = None


REPLACE = Plan("replace", _EMBEDDING, enrolment_analysis("one"))


class SearchParams(Params, frozen=True, kw_only=True):
    """Find the enrolled faces that are like the largest face.

    ``collections``: keys of those to search in; None: the whole gallery. ``k``: hits
    wanted, 1 to ``MAX_HITS``. ``embedding``: with the probe's vector in the result.
    ``liveness``: with how live the face looks. The service itself fills in ``number``: the
    search sees the changes that the tenant made before this request.
    """

    collections: tuple[str, ...] | None = None
    k: int = 1
    embedding: bool = False
    liveness: bool = False
    number: int = 0


SEARCH = Plan(
    "search", _SEARCHING, replace(_LARGEST, measure_quality=True), adapt=_adapt_liveness
)

# Clips -----------------------------------------------------------------------------


class LivingParams(Params, frozen=True, kw_only=True):
    """Watch a clip: whether the ``action`` (1: blink, 2: open the mouth) is done by a live
    person, and whether that person is the enrolled face ``face_id`` (None: anybody), at a distance
    below ``threshold`` (0 to 1). A ``trial`` neither asks whether the clip was used before nor
    counts as its use. With a ``challenge`` (its digest) the actions of ``order`` instead,
    one after the other (3: turn left, 4: turn right, 5: nod); ``mirrored``: the clip shows the
    person as a mirror does."""

    face_id: int | None
    action: Literal[1, 2] = 1
    threshold: float
    trial: bool = False
    challenge: str | None = None
    order: tuple[Literal[1, 2, 3, 4, 5], ...] = ()
    mirrored: bool = False


LIVING = Plan("living", (Stage.LIVENESS,), clip=True)

# Batches ---------------------------------------------------------------------------

# A chunk of a batch: all steps at once, by workers of their own.
BULK = Plan("bulk", (Stage.BULK,), retry_forever=True)

# A time slice of the duplicate search of a finished batch, by the same workers.
DUPLICATE_SEARCH = Plan("duplicate_search", (Stage.BULK,), retry_forever=True)

# Operations whose one picture a gallery keeps.
KEEPING = frozenset({"enrol", "replace"})

PLANS = {
    plan.operation: plan
    for plan in (
        LOCATE, VERIFY, FEATURES, COMPARE, SIMILARITY, MATCH, SEARCH, ENROL, REPLACE, MATRIX,
        LIVING, BULK, DUPLICATE_SEARCH,
    )
}

CALLED_PLANS = tuple(name for name, plan in PLANS.items() if Stage.BULK not in plan.stages)
"""The operations on pictures that clients call: those of the stage bulk are parts of a batch."""

CALLED_OPERATIONS = (*CALLED_PLANS, *RECORD_OPERATIONS)
"""Every operation that can be limited, allowed and denied."""
