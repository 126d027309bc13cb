"""A job's context survives its way through bytes, and broken bytes are refused."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.errors import IntermediateLost
from pipeline.execution.context import JobContext
from pipeline.execution.enrolment import FaceCutouts
from pipeline.execution.search import SearchHits
from pipeline.index.base import Hit
from pipeline.types import Box, DetectedFace, VectorModel
from workers.context_codec import array_bytes, pack, unpack

RNG = np.random.default_rng(11)


def face(scheme: Any = "arcface5") -> DetectedFace:
    points = RNG.random((5, 2), dtype=np.float32)
    return DetectedFace(Box(-1.5, 2.25, 30.125, 44.0), 0.875, points, scheme)


def full_context() -> JobContext:
    return JobContext(
        pictures=[RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8), np.zeros((1, 1, 3), np.uint8)],
        sizes=[(5, 7), (1, 1)],
        faces=[[face(), face("dlib5")], []],
        crops=[[RNG.integers(0, 256, (112, 112, 3), dtype=np.uint8)], []],
        embeddings=[RNG.random((1, 512), dtype=np.float32), np.empty((0, 512), np.float32)],
        face_details={"quality": [[{"size": 80.0, "blur": 40.5}], []], "liveness": [[0.25], []]},
        model=VectorModel("edge", "a" * 64, 512),
        media=["t1/transient/2026010100/a/b", "c"],
    ).add(FaceCutouts([[b"jpeg"], []])).add(SearchHits([Hit(7, 0.75), Hit(2**40, -0.5)]))


def test_everything_comes_back() -> None:
    context = full_context()
    back = unpack(pack(context))
    for one, other in zip(context.pictures, back.pictures, strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.dtype == np.uint8
    assert back.sizes == context.sizes
    for found, again in zip(context.faces, back.faces, strict=True):
        for one_face, other_face in zip(found, again, strict=True):
            assert (one_face.box, one_face.score) == (other_face.box, other_face.score)
            assert one_face.scheme == other_face.scheme
            np.testing.assert_array_equal(one_face.landmarks, other_face.landmarks)
    for crops, more in zip(context.crops, back.crops, strict=True):
        for one, other in zip(crops, more, strict=True):
            np.testing.assert_array_equal(one, other)
    for rows, others in zip(context.embeddings, back.embeddings, strict=True):
        np.testing.assert_array_equal(rows, others)
        assert others.dtype == np.float32
    assert back.face_details == context.face_details
    assert back.get(FaceCutouts) == context.get(FaceCutouts)
    assert back.get(SearchHits) == context.get(SearchHits)
    assert back.model == context.model
    assert back.media == context.media


def test_an_empty_context() -> None:
    assert pack(unpack(pack(JobContext()))) == pack(JobContext())


def test_a_view_that_is_not_contiguous() -> None:
    picture = RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8)[::2, ::-1]
    back = unpack(pack(JobContext(pictures=[picture], sizes=[(6, 4)])))
    np.testing.assert_array_equal(back.pictures[0], picture)


def test_array_bytes_is_close_to_what_is_packed() -> None:
    context = full_context()
    assert 0 <= len(pack(context)) - array_bytes(context) < 1000


def broken(**changes: Any) -> bytes:
    """A packed context with fields of the outer array replaced."""
    names = [
        "v", "media", "sizes", "pictures", "faces", "face_details", "crops", "embeddings",
        "model", "values",
    ]
    fields = msgspec.msgpack.decode(pack(full_context()))
    for name, value in changes.items():
        fields[names.index(name)] = value
    return msgspec.msgpack.encode(fields)


def packed_face(**changes: Any) -> dict[str, Any]:
    """A face of a packed context with members replaced."""
    first: dict[str, Any] = msgspec.msgpack.decode(pack(full_context()))[4][0][0]
    return {**first, **changes}


def test_a_face_may_hold_numbers_of_numpy() -> None:
    found = DetectedFace(
        Box(*np.array([1.5, 2.5, 3.5, 4.5], np.float32)), np.float64(0.5),
        np.zeros((5, 2), np.float32), "arcface5",
    )
    ((back,),) = unpack(pack(JobContext(faces=[[found]]))).faces
    assert (back.box, back.score) == (Box(1.5, 2.5, 3.5, 4.5), 0.5)
    assert back.landmarks.dtype == np.float32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"again",
        pack(full_context())[:-1],
        pickle.dumps(full_context().sizes),
        broken(v=1),
        broken(face_details={"quality": [[{"size": "1.0"}]]}),
        broken(face_details={"quality": [["1.0"]]}),
        broken(values=[]),
        broken(media=[7]),
        broken(sizes=[["5", 7]]),
        broken(pictures=[["u1", [7, 5, 3], b"short"]]),
        broken(pictures=[["u1", [7, 15], bytes(105)]]),
        broken(pictures=[["u1", [7, 5, 4], bytes(140)]]),
        broken(pictures=[["f4", [7, 5, 3], bytes(420)]]),
        broken(pictures=[["O8", [1], bytes(8)]]),
        broken(embeddings=[["u1", [1, 4], bytes(4)]]),
        broken(embeddings=[["f4", [1, 4]]]),
        broken(faces=[[packed_face(landmarks=["f4", [4, 2], bytes(32)])]]),
        broken(faces=[[packed_face(landmarks=["f4", [10], bytes(40)])]]),
        broken(faces=[[packed_face(scheme="other")]]),
        broken(faces=[[packed_face(box={"left": 0.0})]]),
        broken(faces=[[packed_face(score=None)]]),
    ],
)
def test_broken_bytes_are_lost_intermediates(data: bytes) -> None:
    with pytest.raises(IntermediateLost):
        unpack(data)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"SearchHits": {"hits": [{"label": "7", "cosine": 0.5}]}},
        {"SearchHits": {}},
        {"FaceCutouts": {"hits": []}},
    ],
)
def test_a_value_of_another_shape_is_a_lost_intermediate(values: dict[str, Any]) -> None:
    context = unpack(broken(values=values))
    with pytest.raises(IntermediateLost):
        context.get(SearchHits)
