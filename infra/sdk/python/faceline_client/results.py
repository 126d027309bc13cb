"""Results of jobs.

Boxes are in pixels of the upright picture (EXIF orientation applied), from its upper left corner.
A *score* grows with similarity and stands for a rate of false matches, whatever the model: 60 for
one in a thousand, 80 for one in 100,000, 90 for one in a million. A *distance* shrinks with it:
below 0.6 stands for one in a thousand.
"""

from __future__ import annotations

import base64
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Self

import httpx

from faceline_client import envelopes
from faceline_client.envelopes import Envelope, Json, parse
from faceline_client.errors import NoFace


class Result(ABC):
    """What a job comes to. ``client.job(job_id, Kind)`` reads the job of an earlier process as
    a ``Kind``."""

    __slots__ = ()

    envelope: ClassVar[Envelope]

    @classmethod
    @abstractmethod
    def of(cls, data: Json) -> Self:
        """The result in an answer's content."""

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """The result in a job's answer. Raises ``ApiError``, ``UnexpectedAnswer``."""
        return parse(cls.envelope, cls.of, response)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in whole pixels; ``right`` and ``bottom`` are beyond its last pixel."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["left"], data["top"], data["right"], data["bottom"])


@dataclass(frozen=True, slots=True)
class Detection(Result):
    """``boxes`` of all faces in a picture, the largest first; empty without a face."""

    envelope = envelopes.NUMBERED

    boxes: tuple[Box, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        rows: list[list[int]] = data["location"]
        return cls(tuple(Box(left, top, right, bottom) for top, right, bottom, left in rows))

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        try:
            return parse(cls.envelope, cls.of, response)
        except NoFace:
            return cls(())


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """The largest face of a picture. ``roll``, ``yaw``, ``pitch`` in degrees; ``sharpness`` 0 to
    100, larger is sharper; ``liveness`` 0 (a print, a screen) to 100 (live), None where it was not
    asked for; ``quality`` 0 to 1, None in comparisons."""

    box: Box
    roll: int
    yaw: int
    pitch: int
    sharpness: float
    liveness: float | None = None
    quality: float | None = None

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            Box.of(data), data["roll"], data["yaw"], data["pitch"], data["blurness"],
            data.get("livenessScore"), data.get("quality"),
        )


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """``score`` (0 to 100) of the largest faces of two pictures."""

    envelope = envelopes.GROUPS

    score: float
    first: DetectedFace
    second: DetectedFace

    @classmethod
    def of(cls, data: Json) -> Self:
        first, second = (DetectedFace.of(data[f"detectionResult{each}"]) for each in (1, 2))
        return cls(data["compareScore"], first, second)


@dataclass(frozen=True, slots=True)
class Similarities(Result):
    """``scores`` (0 to 100) of pictures with a reference, in their order."""

    envelope = envelopes.NUMBERED

    scores: tuple[float, ...]

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(100 * each for each in data["similarity"]))


@dataclass(frozen=True, slots=True)
class ScoreMatrix(Result):
    """``scores`` (0 to 100): a row for each face of the first picture (largest first, four at
    most), in it a number for each face of the second. ``best`` is the highest. ``first_id`` and
    ``second_id`` name the stored pictures, None for one that was given by its id."""

    envelope = envelopes.MATRIX

    scores: tuple[tuple[float, ...], ...]
    best: float
    first_id: str | None
    second_id: str | None

    @classmethod
    def of(cls, data: Json) -> Self:
        ids = (data.get(f"image_{each}", {}).get(f"image_{each}_id") for each in ("one", "two"))
        rows = tuple(tuple(100 * each for each in row) for row in data["confidences"])
        return cls(rows, 100 * data["max_confidence"], *ids)


@dataclass(frozen=True, slots=True)
class Verification(Result):
    """``matches`` says whether the largest faces of two pictures are of one person;
    ``distance``, 0 to 1, how far apart they are. An application with the profile
    ``face2-vendor`` has another distance."""

    envelope = envelopes.SIGNED

    matches: bool
    distance: float

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["is_match"], data["score"])


@dataclass(frozen=True, slots=True)
class Features(Result):
    """``vector`` of the largest face: 512 numbers of unit length. Vectors of different model
    packs cannot be compared."""

    envelope = envelopes.SIGNED

    vector: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(data["features"]))


@dataclass(frozen=True, slots=True)
class EnrolledFace(Result):
    """The largest face of a picture, now in the gallery. ``face_token`` names it in
    collections and searches, ``face_id`` in matches and liveness checks, ``image_id`` its
    picture."""

    envelope = envelopes.GROUPS

    face_id: int
    face_token: str
    image_id: str
    box: Box

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["id"], data["faceToken"], data["imageId"], Box.of(data["rect"]))


@dataclass(frozen=True, slots=True)
class NamedFace(Result):
    """A face of the gallery by its number and name."""

    envelope = envelopes.NUMBERED

    face_id: int
    name: str

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["Fid"], data["Fname"])


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled person."""

    person_id: str
    name: str

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["person_id"], data["name"])


@dataclass(frozen=True, slots=True)
class AddedPeople(Result):
    """Everyone in a picture, the largest face first. ``left_out`` counts faces beyond the
    largest 256."""

    envelope = envelopes.PEOPLE

    people: tuple[Person, ...]
    left_out: int

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(tuple(map(Person.of, data["message"])), data.get("left_out", 0))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person who is like the one searched for; ``score`` is 81 to 100, rounded down."""

    score: int
    person: Person


@dataclass(frozen=True, slots=True)
class FoundPeople(Result):
    """Everyone with a score above 80, best first, at most 50; ``more`` says that there are
    more. Empty when nobody is alike."""

    envelope = envelopes.PEOPLE

    candidates: tuple[Candidate, ...]
    more: bool

    @classmethod
    def of(cls, data: Json) -> Self:
        listed = data["message"] if data["status"] == "OK" else []
        found = tuple(Candidate(each["confidence"], Person.of(each)) for each in listed)
        return cls(found, data.get("more", False))


@dataclass(frozen=True, slots=True)
class Hit:
    """An enrolled face like the one searched for: ``score`` 0 to 100, above that of one of its
    ``collections`` that was searched; ``cutout`` is a JPEG of the face, empty once it was
    deleted."""

    score: float
    face_token: str
    description: str
    collections: tuple[str, ...]
    cutout: bytes = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(
            data["searchScore"], data["faceToken"], data["description"],
            tuple(each["groupId"] for each in data["group"]),
            base64.b64decode(data["imageUrl"]),
        )


@dataclass(frozen=True, slots=True)
class SearchResult(Result):
    """``hits`` for the largest face of a picture (``probe``), best first, at most five. ``more``:
    the 100 most similar faces gave fewer than were asked for, and others may pass. ``vector``
    holds 512 numbers of unit length where they were asked for."""

    envelope = envelopes.GROUPS

    probe: DetectedFace
    hits: tuple[Hit, ...]
    more: bool
    vector: tuple[float, ...] | None = field(repr=False)

    @classmethod
    def of(cls, data: Json) -> Self:
        found = data["detectionResult"]
        places = (data.get(f"top{place}") for place in range(1, 6))
        packed = base64.b64decode(found.get("feature", ""))
        vector = struct.unpack(f"<{len(packed) // 4}f", packed) or None
        hits = tuple(Hit.of(hit) for hit in places if hit)
        return cls(DetectedFace.of(found), hits, data.get("more", False), vector)


@dataclass(frozen=True, slots=True)
class Match(Result):
    """Whether the one face in a picture is the enrolled one."""

    envelope = envelopes.NUMBERED

    matches: bool

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["match"])


@dataclass(frozen=True, slots=True)
class LivingVerdict(Result):
    """``real``: a living person does what was asked; ``matches``: it is the enrolled one.
    ``client.evidence(job_id)`` says why."""

    envelope = envelopes.NUMBERED

    real: bool
    matches: bool

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(data["real"], data["match"])


