"""Settings: one class, read from the environment (``FACELINE_...``).

``docs/settings.md`` is made from the descriptions below.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.storage import StorageSettings
from pipeline.errors import ConfigurationError


class Settings(StorageSettings):
    """Every setting of every process; the environment variable is the upper-case
    name behind ``FACELINE_``."""

    # Limits of media
    max_pixels: int = Field(
        40_000_000, description="Most pixels a picture may have by its header."
    )
    max_side: int = Field(12_000, description="Longest side in pixels a picture may have.")
    decode_sandbox: bool = Field(
        True, description="Decode pictures and clips in processes that can do nothing else; "
        "`false` only where every source of pictures is trusted.",
    )
    decode_memory_mb: int = Field(
        1024, ge=64, description="Megabytes that decoding one picture or clip may take."
    )
    decode_limit_s: float = Field(
        10.0, gt=0, description="Seconds of processor time that decoding one picture or clip "
        "may take; four times as much by the clock."
    )
    max_body_bytes: int = Field(
        12 * 1024 * 1024, description="Largest request body that is read."
    )
    max_clip_bytes: int = Field(
        20 * 1024 * 1024, description="Largest clip in bytes; the body that brings one as "
        "Base64 may be half as large again."
    )

    # Pictures by URL
    fetch_urls: bool = Field(
        False, description="Fetch pictures that requests name by URL. Every process must be told "
        "the same; a worker of the stage `fetch` does it."
    )
    fetch_concurrency: int = Field(
        4, ge=1, description="Processes of the worker that fetches; a slow server keeps one "
        "of them busy for fetch_deadline_s."
    )
    fetch_share: int = Field(
        2, ge=1, description="Pictures of one application that are fetched at a time while those "
        "of others wait."
    )
    fetch_deadline_s: float = Field(
        10.0, gt=0, le=25, description="Seconds that one picture may take, from looking up its "
        "name to its last byte, over all redirects."
    )
    fetch_max_bytes: int = Field(
        5 * 1024 * 1024, ge=1, description="Largest picture that is fetched."
    )
    fetch_ports: str = Field(
        "80,443", description="Ports that are fetched from, comma separated."
    )
    fetch_allow_networks: str = Field(
        "", description="Networks that are fetched from although their addresses are not public, "
        "comma separated (`10.1.2.0/24,fd00:1::/64`)."
    )
    fetch_deny_networks: str = Field(
        "", description="Networks that are never fetched from, comma separated; stronger than "
        "fetch_allow_networks."
    )

    # Whole sources
    import_url: str = Field(
        "", description="Bucket, as `s3://bucket/folder` or `s3+http://host:port/bucket`, whose "
        "objects applications may enrol by `POST /batches`, each those below `tID/` (`faceline "
        "apps list` shows the number); read with the media store's credentials, never the media "
        "store's bucket. Empty: switched off. The shim and upkeep must be told the same.",
    )

    import_patience_h: float = Field(
        24.0, gt=0, description="Hours for which a batch whose bucket cannot be read is tried "
        "again before it ends as failed."
    )

    bulk_chunk: int = Field(
        32, ge=1, le=500, description="Pictures of a batch that one job enrols."
    )
    bulk_in_flight: int = Field(
        8, ge=1, description="Jobs of one batch that wait or run at a time; its source is read "
        "no further meanwhile, so that batches take turns."
    )
    batch_retention_d: float = Field(
        90.0, gt=0, description="Days for which is kept what became of the items of a batch, "
        "counted from its last change; until then the same command goes on with it."
    )
    bulk_nice: int = Field(
        10, ge=0, le=19, description="How far the processes of the worker `bulk` stand back "
        "behind those of other workers for a core, as `nice` counts it."
    )
    bulk_false_findings: float = Field(
        1.0, gt=0, description="Pairs of strangers that the search of a batch for people under "
        "two names may report: more of them, and fewer of those people are missed."
    )
    bulk_apart_fmr: float = Field(
        0.01, gt=0, le=0.1, description="Share of strangers under one name that the search of a "
        "batch may pass over: fewer of them, and more poor photos are reported."
    )
    bulk_idle_s: float = Field(
        120.0, ge=0, description="Seconds without work after which a process of the worker "
        "`bulk` gives the memory of its models back; 0: never."
    )
    bulk_time_limit_s: float = Field(
        300.0, ge=1, description="Seconds after which a chunk of a batch that is still worked "
        "on is split in two; a picture that alone takes as long is rejected."
    )

    # Jobs
    hold_s: float = Field(
        30.0, ge=0, description="Seconds a response is held before it becomes 202."
    )
    lease_s: float = Field(
        15.0, gt=0, description="Seconds after which a worker that gives no sign is taken for dead."
    )
    max_attempts: int = Field(
        3, ge=1, description="How often a job may kill its worker before it ends as crashed."
    )
    job_time_limit_s: float = Field(
        60.0, ge=1, description="Seconds after which a job that still runs ends as timed out."
    )
    jobs_per_process: int = Field(
        10_000, ge=0, description="Jobs after which a worker process is replaced by a fresh "
        "one; 0: never."
    )
    retry_for_s: float = Field(
        900.0, gt=0, description="Seconds for which a job whose stores are away is tried again."
    )
    max_waiting: int = Field(
        200_000, ge=1, description="Waiting jobs above which submits are refused with 503."
    )
    reconcile_interval_s: float = Field(
        2.0, gt=0, description="Pause between two rounds of the reconciler."
    )
    resend_after_s: float = Field(
        5.0, gt=0, description="Seconds after which a waiting job whose message is gone is sent "
        "again."
    )
    job_retention_h: float = Field(
        24.0, gt=0, description="Hours for which the result of a job can be polled."
    )
    usage_retention_d: float = Field(
        400.0, ge=62, description="Days for which is kept how often applications called; whole "
        "days and months."
    )
    media_retention_h: float = Field(
        2.0, ge=1, description="Hours for which the pictures of failed jobs are kept; those of "
        "others go with their job, unless they are enrolled."
    )
    image_lifetime_d: float = Field(
        30.0, gt=0, description="Days for which pictures sent to document c keep their id, "
        "counted from the last time they were sent; enrolled ones stay."
    )
    intermediate_s: int = Field(
        600, ge=1, description="Seconds for which an intermediate value waits in Redis."
    )
    redis_budget_mb: int = Field(
        1024, ge=1, description="Megabytes in Redis above which pixels no longer travel through "
        "it between workers of different stages; the next one then decodes again."
    )

    # Search
    index_engine: Literal["auto", "flat", "codes", "hnsw"] = Field(
        "auto",
        description="How galleries are searched: `flat` compares every vector, `codes` what "
        "sign-bit codes say is near, `hnsw` walks a graph (needs the package hnswlib); `auto`: "
        "`flat` up to index_exact_limit, `codes` above it.",
    )
    index_exact_limit: int = Field(
        20_000, ge=0, description="Faces of a tenant up to which `auto` compares every vector."
    )
    index_short_list: int = Field(
        2000, ge=1, description="Vectors that `codes` compares exactly for each probe."
    )
    index_threads: int = Field(
        1, ge=1, description="Threads with which hnswlib builds and searches a graph."
    )
    index_memory_mb: int = Field(
        0, ge=0, description="Megabytes of galleries that an index process holds; those that "
        "were not searched for longest are let go, and read again when somebody searches in "
        "them. 0: all of them.",
    )
    index_snapshot_changes: int = Field(
        10_000, ge=1, description="Fewest changes of a gallery between two snapshots of its "
        "index; a large gallery waits for a tenth of its size. One below that is read from the "
        "database at each start.",
    )
    index_garbage_share: float = Field(
        0.25, gt=0, le=1, description="Share of deleted faces in an index at which it is built "
        "anew."
    )
    index_canary_every: int = Field(
        1000, ge=0, description="Every so many searches one is repeated exactly, to measure the "
        "recall; 0: none."
    )
    index_round_s: float = Field(
        5.0, gt=0, description="Pause in seconds between two rounds in which an index process "
        "follows all galleries and writes and purges their snapshots."
    )
    purge_after_s: float = Field(
        3600.0, gt=0, description="Seconds after which a deleted face is in no snapshot of an "
        "index any more."
    )
    hnsw_links: int = Field(
        32, ge=2, le=512, description="Links of a graph's node (hnswlib's M)."
    )
    hnsw_build_width: int = Field(
        400, ge=8, description="Candidates when a graph is built (hnswlib's ef_construction)."
    )
    hnsw_search_width: int = Field(
        800, ge=8, description="Candidates when a graph is searched (hnswlib's ef)."
    )

    # Clips
    living_rate: float = Field(
        15.0, ge=5, le=60, description="Frames a second of a clip that are analysed."
    )
    living_min_score: float = Field(
        50.0, ge=0, le=100, description="Passive score that a clip must have to be taken for "
        "live, 0 to 100."
    )

    living_refuse_replays: bool = Field(
        True, description="Refuse a clip that was taken for a live one before: the same file, or "
        "the same play for the same face, however it is encoded."
    )
    living_remember_d: float = Field(
        90.0, gt=0, description="Days for which a clip that was taken for a live one is known."
    )

    # What a face must have to be enrolled where the document asks for a check. Of photos
    # that people take of each other nearly all pass.
    quality_min_size: float = Field(
        40.0, ge=0, description="Shorter side in pixels of a face's box at least."
    )
    quality_min_blur: float = Field(
        36.0, ge=0, le=100, description="Sharpness at least, 0 to 100; larger is sharper."
    )
    quality_min_brightness: float = Field(
        35.0, ge=0, le=255, description="Mean grey of a face at least."
    )
    quality_max_brightness: float = Field(
        225.0, ge=0, le=255, description="Mean grey of a face at most."
    )
    quality_min_contrast: float = Field(
        12.0, ge=0, le=127, description="Spread of a face's grey at least."
    )
    quality_max_yaw: float = Field(
        50.0, ge=0, le=90, description="Degrees that a head may be turned to either side."
    )
    quality_max_pitch: float = Field(
        45.0, ge=0, le=90, description="Degrees that a head may be raised or lowered."
    )
    quality_max_roll: float = Field(
        45.0, ge=0, le=180, description="Degrees that a head may be tilted."
    )

    # Serving
    host: str = Field("127.0.0.1", description="Address that the shim listens on.")
    port: int = Field(8600, ge=0, le=65535, description="Port that the shim listens on.")
    stages: str = Field(
        "decode,detect,embed,liveness",
        description="Stages that this worker serves, comma separated; `index` only alone.",
    )
    concurrency: int = Field(
        0, ge=0, description="Worker processes; 0: one for each core."
    )
    max_connections: int = Field(
        2000, ge=1, description="Connections that the shim keeps; those on which nothing is "
        "being answered give way to new ones, others are told to come back."
    )
    signature_window_s: int = Field(
        300, ge=1, description="Greatest difference in seconds between a signed request's "
        "timestamp and the server's clock."
    )
    b_tenant: str = Field(
        "", description="Name of the tenant of document b's requests that have no API key; "
        "empty: they are refused."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of a log line.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.media_retention_h * 3600 <= self.retry_for_s:
            raise ValueError("media_retention_h must be longer than retry_for_s")
        for size in self.detector_sizes:
            if size < 32 or size % 32:
                raise ValueError("detection_sizes must be multiples of 32")
        return self

    @property
    def detector_sizes(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.detection_sizes.split(",") if part.strip())

    @property
    def provider_names(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.providers.split(",") if part.strip())

    @property
    def served_stages(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.stages.split(",") if part.strip())

    @property
    def sql_url(self) -> str:
        if self.database_url:
            return self.database_url
        return f"sqlite:///{self.data_dir.absolute() / 'faceline.db'}"

    @property
    def wake_url(self) -> str:
        """The Redis that carries wake-ups and intermediate values."""
        return self.redis_url or self.broker_url

    @property
    def media_location(self) -> str:
        return self.media_url or f"file://{self.data_dir.absolute() / 'media'}"


def load_settings() -> Settings:
    """Settings from the environment.

    Raises ``ConfigurationError`` naming every variable that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"FACELINE_{str(item['loc'][0]).upper() if item['loc'] else '*'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError(wrong) from error


@lru_cache(maxsize=1)
def process_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
