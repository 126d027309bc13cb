"""Pictures in a bucket of a real MinIO."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter, MediaUnavailable
from pipeline.media.pictures import PictureLimits
from pipeline.sources import bucket as bucket_module
from pipeline.sources.bucket import Bucket, BucketSource, parse_location
from pipeline.sources.manifest import ManifestSource
from tests.parallel import free_port
from tests.servers import MinioServer
from tests.unit.sources.makers import LIMITS, outcomes, picture, taken


@pytest.fixture
def settings() -> Settings:
    return Settings(
        media_access_key=MinioServer.access_key,
        media_secret_key=SecretStr(MinioServer.secret_key),
    )


@pytest.fixture
def filled(shared_minio: MinioServer) -> str:
    """The URL of a bucket with pictures below `in/` and one beside."""
    client = shared_minio.client()
    name = f"source-{os.urandom(4).hex()}"
    client.make_bucket(name)
    contents = {
        "in/zoe/1.png": picture(1), "in/ada/张 1.png": picture(2), "in/solo.png": picture(3),
        "in/text.png": b"no picture", "in/empty.png": b"", "other/1.png": picture(4),
        "in/folder/": b"",
    }
    for key, data in contents.items():
        client.put_object(name, key, io.BytesIO(data), len(data))
    return f"{shared_minio.url}/{name}"


def opened(url: str, settings: Settings) -> BucketSource:
    return BucketSource(Bucket(parse_location(url), settings))


def test_objects_below_a_prefix(filled: str, settings: Settings) -> None:
    source = opened(f"{filled}/in/", settings)

    assert outcomes(source) == [
        ("in/ada/张 1.png", "taken"), ("in/empty.png", "empty"), ("in/solo.png", "taken"),
        ("in/text.png", "not_a_picture"), ("in/zoe/1.png", "taken"),
    ]
    assert [item.about.name for item in taken(source)] == ["ada", "empty", "solo", "text", "zoe"]
    assert len(outcomes(opened(filled, settings))) == 6


def test_objects_are_not_read_past_the_limit(filled: str, settings: Settings) -> None:
    narrow = PictureLimits(max_bytes=20, min_side=9, max_side=100, max_pixels=10_000)

    assert dict(outcomes(opened(f"{filled}/in/z", settings), narrow)) == {
        "in/zoe/1.png": "media_too_large",
    }
    assert dict(outcomes(opened(f"{filled}/in/z", settings), LIMITS))["in/zoe/1.png"] == "taken"


def test_bytes_that_change_on_their_way(
    filled: str, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket = Bucket(parse_location(filled), settings)
    read_body, reads = bucket_module._body, 0

    def spoil(how: Callable[[bytes], bytes]) -> None:
        def body(*arguments: Any) -> bytes:
            nonlocal reads
            reads += 1
            return how(read_body(*arguments))

        monkeypatch.setattr(bucket_module, "_body", body)

    def read() -> tuple[bytes, int]:
        nonlocal reads
        reads = 0
        return bucket.read("in/solo.png", 10_000), reads

    spoil(lambda data: data if reads > 2 else data[:-reads])
    assert read() == (picture(3), 3)
    # A server whose tags are something else.
    spoil(lambda data: data + b"same")
    assert read() == (picture(3) + b"same", 2)
    spoil(lambda data: data + bytes([reads]))
    with pytest.raises(MediaUnavailable, match="other bytes each of 4 times"):
        read()
    assert [vars(each)["action"] for each in caplog.records] == ["object_damaged"]


def test_objects_that_cannot_be_had(filled: str, settings: Settings, tmp_path: Path) -> None:
    keys = ("in/solo.png", "no/such.png", "../up.png", "/abs.png", "k" * 1023, "in//x", "a/./b")
    (tmp_path / "keys.csv").write_text("\n".join(("key", *keys)))
    bucket = Bucket(parse_location(filled), settings)

    found = outcomes(ManifestSource(tmp_path / "keys.csv", objects=bucket.read))

    assert [name for name, reason in found if reason == "taken"] == ["key in/solo.png"]
    assert {reason for _, reason in found} <= {"taken", "media_not_found", "unsafe_name"}
    assert len(found) == len(keys)


def test_buckets_that_cannot_be_read(
    filled: str, settings: Settings, shared_minio: MinioServer, tmp_path: Path
) -> None:
    wrong = settings.model_copy(update={"media_secret_key": SecretStr("wrong")})

    with pytest.raises(InvalidParameter, match="no bucket no-such-bucket"):
        outcomes(opened(f"{shared_minio.url}/no-such-bucket", settings))
    with pytest.raises(InvalidParameter, match="SignatureDoesNotMatch"):
        outcomes(opened(filled, wrong))
    nobody = Settings(media_access_key="")
    with pytest.raises(InvalidParameter, match="bucket's policy"):
        outcomes(opened(filled, nobody))
    (tmp_path / "keys.csv").write_text("key\nin/solo.png\nin/zoe/1.png\nno/such.png\n")
    listed = ManifestSource(
        tmp_path / "keys.csv", objects=Bucket(parse_location(filled), nobody).read
    )
    with pytest.raises(InvalidParameter, match="bucket's policy"):
        outcomes(listed)
    with pytest.raises(MediaUnavailable, match="of the bucket bucket does not answer"):
        outcomes(opened(f"s3+http://127.0.0.1:{free_port()}/bucket", settings))


@pytest.mark.parametrize("url", ["s3://", "s3+http://host", "s3+http://u:p@host/bucket", "s3://A_b"])
def test_invalid_bucket_urls(url: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_location(url)
