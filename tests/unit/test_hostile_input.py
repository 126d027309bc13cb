"""Properties of everything that reads bytes from strangers: tar, zip, TIFF, multipart forms,
JSON and the headers of clips.

Arbitrary bytes, and valid ones with damage, end in documented errors and within the readers'
limits; valid ones come back as they were written. Hypothesis draws the same examples each time.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_shim import multipart, parsing
from api_shim.multipart import read_multipart
from api_shim.parsing import JsonNumber, canonical, decode_base64, read_form, read_object
from pipeline.config.settings import Settings
from pipeline.errors import (
    BadEncoding,
    ClipCorrupt,
    ClipOutOfRange,
    FormatNotAccepted,
    InvalidParameter,
    NotAPicture,
    NotUtf8,
    PictureCorrupt,
    PictureOutOfRange,
)
from pipeline.media.clip_headers import ClipFormat, read_header
from pipeline.media.clips import ClipLimits, check_clip
from pipeline.media.formats import tiff
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.sources.archives import ArchiveLimits, ArchiveOptions
from pipeline.sources.base import Item, ItemRefused, RefusalReason
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource
from tests.clips import KINDS, encoded
from tests.unit import writers
from tests.unit.sources.makers import member, picture

Source = type[TarSource] | type[ZipSource]

EXAMPLES = 100  # of each property: some five seconds of processor time for all
HEADER = "multipart/form-data; boundary=border"
PICTURES = PictureLimits.from_settings(Settings())
ARCHIVES = ArchiveLimits(max_members=20, max_bytes=100_000)
ITEM_BYTES = 50_000
PARTS = 200  # of a clip's container

examples = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of ``valid`` with up to six runs of bytes replaced, inserted or taken out."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 16))] = draw(st.binary(max_size=16))
    return bytes(data)


# Archives ----------------------------------------------------------------------

# Lower-case letters only: names that a file system holds to be equal are refused.
names = st.lists(
    st.text("ab0é中", min_size=1, max_size=80).map(lambda word: f"{word}/1.png"),
    unique=True, max_size=8,
)


def tar_of(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info, content = member(name, data)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


MEMBERS = {"ada/1.png": picture(1), "n" * 120 + "/2.png": picture(2), "中/3.png": picture(3)}
TARS = [tar_of(MEMBERS, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
ZIPS = [zip_of(MEMBERS, method) for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)]


def read_archive(kind: Source, path: Path) -> tuple[dict[str, bytes], list[str]]:
    """The members that can be read, and the reasons of the refusals."""
    found, refused = {}, []
    for item in kind(path, ArchiveOptions(limits=ARCHIVES)).items():
        if not isinstance(item, Item):
            refused.append(item.reason)
            continue
        try:
            data = item.read(ITEM_BYTES)
        except ItemRefused as error:
            refused.append(error.reason)
        else:
            assert len(data) <= ITEM_BYTES
            assert item.source_name not in found
            found[item.source_name] = data
    return found, refused


@pytest.mark.parametrize(("kind", "write"), [(TarSource, tar_of), (ZipSource, zip_of)])
@examples
@given(names=names, data=st.binary(max_size=1000))
def test_members_come_back(
    tmp_path: Path, kind: Source, write: Any, names: list[str], data: bytes
) -> None:
    members = {name: bytes([number]) + data for number, name in enumerate(names)}
    path = tmp_path / "archive"
    path.write_bytes(write(members))

    found, refused = read_archive(kind, path)

    assert refused == []
    assert list(found.values()) == list(members.values())


@pytest.mark.parametrize(("kind", "valid"), [(TarSource, TARS), (ZipSource, ZIPS)])
@examples
@given(draw=st.data())
def test_damaged_archives_end_in_reasons(
    tmp_path: Path, kind: Source, valid: list[bytes], draw: st.DataObject
) -> None:
    data = draw.draw(damaged(valid) | st.binary(max_size=2000))
    path = tmp_path / "archive"
    path.write_bytes(data)

    found, refused = read_archive(kind, path)

    assert set(refused) <= set(RefusalReason)
    assert len(found) + len(refused) <= ARCHIVES.max_members + 1
    assert sum(map(len, found.values())) <= ARCHIVES.max_bytes + ITEM_BYTES


# TIFF --------------------------------------------------------------------------


def tiff_of(width: int, height: int, **options: Any) -> bytes:
    samples = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3) % 256
    return writers.tiff(samples, 8, tiff.RGB, **options)


TIFFS = [
    tiff_of(20, 30), tiff_of(20, 30, big_endian=True, deflate=True),
    tiff_of(40, 40, tile=16), tiff_of(20, 30, planar=True, rows_per_strip=7),
]


@examples
@given(
    width=st.integers(1, 40), height=st.integers(1, 40), big_endian=st.booleans(),
    deflate=st.booleans(), turn=st.integers(1, 8),
)
def test_a_tiff_says_its_size_and_its_turn(
    width: int, height: int, big_endian: bool, deflate: bool, turn: int
) -> None:
    data = tiff_of(
        width, height, big_endian=big_endian, deflate=deflate,
        extra=[(tiff.ORIENTATION, 3, [turn])],
    )
    assert tiff.read(data) == (width, height, turn)
    assert tiff.exif_orientation(data) == turn
    assert tiff.read(tiff.only_first_page(data)) == (width, height, 1)


@examples
@given(data=damaged(TIFFS) | st.binary(max_size=200).map(lambda end: b"II*\0" + end))
def test_a_damaged_tiff_ends_in_documented_errors(data: bytes) -> None:
    try:
        header = inspect(data, PICTURES)
    except (NotAPicture, FormatNotAccepted, PictureCorrupt, PictureOutOfRange):
        pass
    else:
        assert min(header.width, header.height) >= 1
        assert header.width * header.height <= PICTURES.max_pixels
        if header.format == "tiff":
            assert tiff.read(tiff.only_first_page(data))[2] == 1
    assert 1 <= tiff.exif_orientation(data) <= 8


# Forms -------------------------------------------------------------------------

words = st.text("ab0é中-_ ", min_size=1, max_size=20)


def form_of(fields: dict[str, str], files: dict[str, bytes]) -> bytes:
    """As browsers write it."""
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [(f'name="{name}"; filename="f"', value) for name, value in files.items()]
    lines = []
    for names, value in parts:
        lines += [b"--border", b"Content-Disposition: form-data; " + names.encode(), b"", value]
    return b"\r\n".join([*lines, b"--border--", b""])


FORMS = [form_of({"api_id": "中", "x": ""}, {"file": bytes(range(256))}), form_of({"a": "b"}, {})]


@examples
@given(
    fields=st.dictionaries(words, st.text(max_size=40), min_size=1, max_size=5),
    data=st.binary(max_size=200),
)
def test_forms_come_back(fields: dict[str, str], data: bytes) -> None:
    files = {"a file": data}

    form = read_multipart(form_of(fields, files), HEADER)

    assert form.fields == {name: value for name, value in fields.items() if name != "a file"}
    assert form.files == files


@examples
@given(body=damaged(FORMS) | st.binary(max_size=300).map(lambda end: b"--border\r\n" + end))
def test_damaged_forms_end_in_documented_errors(body: bytes) -> None:
    try:
        form = read_multipart(body, HEADER)
    except (InvalidParameter, NotUtf8):
        return
    assert len(form.fields) + len(form.files) <= multipart.MAX_PARTS
    sizes = [len(value.encode()) for value in form.fields.values()]
    assert sum(sizes) + sum(map(len, form.files.values())) <= len(body)


@examples
@given(header=st.text(max_size=100) | st.text(max_size=60).map(lambda end: HEADER[:-6] + end))
def test_a_content_type_of_any_form_ends_in_documented_errors(header: str) -> None:
    try:
        read_multipart(FORMS[0], header)
    except (InvalidParameter, NotUtf8):
        return


@examples
@given(body=st.binary(max_size=300) | damaged([b"a=1&b=%E4%B8%AD&c=", b"=&" * 60]))
def test_a_query_string_ends_in_documented_errors(body: bytes) -> None:
    try:
        assert len(read_form(body)) <= parsing.MAX_FIELDS
    except (InvalidParameter, NotUtf8):
        return


# JSON and Base64 ---------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
OBJECTS = [b'{"a": {"b": [1, -2.5e3, null, true, "\\u4e2d\\\\"]}, "c": ""}', b'{"image": "aGk="}']


@examples
@given(value=st.dictionaries(st.text(max_size=8), values), escaped=st.booleans())
def test_json_comes_back(value: dict[str, Any], escaped: bool) -> None:
    read = read_object(json.dumps(value, ensure_ascii=escaped).encode())

    assert json.loads(canonical(read)) == value
    assert canonical(read_object(canonical(read).encode())) == canonical(read)


@examples
@given(body=damaged(OBJECTS) | st.binary(max_size=200) | st.text("[{\"a:,1\\", max_size=200).map(
    str.encode
))
def test_damaged_json_ends_in_documented_errors(body: bytes) -> None:
    try:
        value = read_object(body)
    except InvalidParameter:
        return
    assert depth(value) <= parsing.MAX_DEPTH


@examples
@given(levels=st.integers(1, 5000), closed=st.booleans())
def test_deep_json_is_refused(levels: int, closed: bool) -> None:
    body = b'{"a":' * levels + b"1" + b"}" * (levels if closed else 0)
    if levels <= parsing.MAX_DEPTH and closed:
        assert depth(read_object(body)) == levels
        return
    with pytest.raises(InvalidParameter):
        read_object(body)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    assert value is None or isinstance(value, (str, bool, JsonNumber))
    return 0


@examples
@given(text=st.text(max_size=60) | st.text("aB0+/=", max_size=60))
def test_base64_ends_in_documented_errors(text: str) -> None:
    try:
        data = decode_base64(text)
    except BadEncoding:
        return
    assert len(data) == len(text.rstrip("=")) * 3 // 4


# Clips -------------------------------------------------------------------------

CONTAINERS: tuple[ClipFormat, ...] = ("mp4", "matroska", "avi")
CLIPS = [encoded([np.zeros((64, 96, 3), np.uint8)] * 3, kind=kind) for kind in KINDS]


@examples
@given(data=damaged([clip[:2000] for clip in CLIPS] + CLIPS) | st.binary(max_size=300))
def test_damaged_clips_are_read_within_bounds(data: bytes) -> None:
    for container in CONTAINERS:
        found = read_header(data, container, PARTS)
        assert found.parts <= PARTS + 1
        assert min(found.width, found.height, found.frames, found.samples, found.streams) >= 0
    try:
        assert check_clip(data, ClipLimits()) in CONTAINERS
    except (ClipCorrupt, ClipOutOfRange):
        return
