"""Names under which things are kept outside the database."""

from __future__ import annotations

import hashlib

import pytest

from pipeline import storage_keys
from pipeline.errors import InvalidParameter, MediaCorrupt
from pipeline.media.base import check_bytes, check_key

HOUR_S = storage_keys.HOUR_S


def test_a_transient_key_tells_tenant_hour_owner_and_hash() -> None:
    key = storage_keys.transient_media(7, "owner", storage_keys.plain_name(b"data"), 0.0)
    sha256 = hashlib.sha256(b"data").hexdigest()
    assert key == f"t7/transient/1970010100/owner/{sha256}"
    assert key.startswith(storage_keys.transient_prefix(7))
    assert storage_keys.transient_hour(key) == "1970010100"
    assert storage_keys.media_hash(key) == sha256
    assert check_key(key) == key


@pytest.mark.parametrize("now", [0.0, 1_700_000_000.0, 4_102_444_799.5])
def test_hours_sort_as_time_does(now: float) -> None:
    hours = [
        storage_keys.transient_hour(
            storage_keys.transient_media(1, "o", "name", now + step * HOUR_S)
        )
        for step in range(30)
    ]
    assert hours == sorted(set(hours))


def test_one_tenants_prefix_is_not_anothers() -> None:
    assert not storage_keys.transient_media(11, "o", "name", 0.0).startswith(
        storage_keys.transient_prefix(1)
    )


def test_an_intermediate_belongs_to_a_job_and_a_stage() -> None:
    names = {
        storage_keys.intermediate(job, stage) for job in ("a", "b") for stage in ("embed", "detect")
    }
    assert len(names) == 4
    assert all(name.startswith(storage_keys.REDIS_PREFIX) for name in names)


def test_bytes_are_held_against_their_key() -> None:
    key = storage_keys.transient_media(1, "o", storage_keys.plain_name(b"data"), 0.0)
    assert check_bytes(key, b"data") == b"data"
    with pytest.raises(MediaCorrupt):
        check_bytes(key, b"datb")


@pytest.mark.parametrize("key", ["../x", "/x", "x/", "x//y", "x/..", ".x", "", "x\n", "x" * 513])
def test_no_key_leads_elsewhere(key: str) -> None:
    with pytest.raises(InvalidParameter):
        check_key(key)
