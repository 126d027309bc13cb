"""Settings of every process, read from the environment (``FACELINE_...``).

``docs/settings.md`` is generated from the descriptions below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.config.storage import DataDirectory
from pipeline.errors import ConfigurationError


class Settings(BaseSettings):
    """Every setting of every process. The environment variable of a field is its upper-case
    name after ``FACELINE_``."""

    model_config = SettingsConfigDict(
        env_prefix="FACELINE_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    # Storage
    data_dir: Path = Path(".faceline")
    """Directory of the embedded stack: database, media, keys."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in the data directory."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Celery broker: Redis (`redis://`, `rediss://` with TLS,
    `sentinel://host:port,host:port/0?master=NAME`), or RabbitMQ (`amqp://`) when redis_url names a
    Redis beside it."""
    redis_url: str = ""
    """Redis for wake-ups and intermediate values; empty: the broker's."""
    media_url: str = ""
    """`file:///path` or `s3://bucket` (`s3+http://host:port/bucket` for a private server);
    empty: `media` in the data directory."""
    media_access_key: str = ""
    """Access key of the S3 media store. Empty: from the environment (`AWS_ACCESS_KEY_ID`,
    `MINIO_ACCESS_KEY`), a web identity, AWS's credentials file, or the role of the container or
    machine."""
    media_secret_key: SecretStr = SecretStr("")
    """Secret key of the S3 media store."""
    media_session_token: SecretStr = SecretStr("")
    """Session token of temporary keys of the S3 media store."""
    media_region: str = "us-east-1"
    """Region of the S3 media store."""
    journal_url: str = ""
    """Where deletions are recorded, so that a restored backup deletes them again: as media_url, or
    `s3://bucket/folder`. Keep it apart from database and media. Empty: `journal` in the data
    directory, or the media store where media_url is set."""
    receipt_retention_d: float = Field(1095.0, gt=0)
    """Days for which receipts of deletions and the deletion journal are kept; longer than any
    backup."""
    master_key: SecretStr = SecretStr("")
    """32 bytes in Base64 that encrypt the secrets at rest; empty: a key file."""
    master_keys_old: SecretStr = SecretStr("")
    """Former master keys, comma separated, which still decrypt values encrypted under them."""
    master_key_file: str = ""
    """File with one master key per line, the current one first; processes reload it when it
    changes. Empty: `master.key` in the data directory, created at first use."""
    encrypt_at_rest: bool = False
    """Encrypt the data of new applications, each under its own key: pictures, vectors, indexes,
    results. `faceline secrets encrypt-tenant` encrypts existing applications."""

    # Models
    models: str = ""
    """Directory of model packs; empty: ./models, ../shared/models, ~/.insightface/models."""
    models_url: str = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
    """Address of the InsightFace archives for `faceline models pull`."""
    pack: str = "auto"
    """Model pack of the deployment; `auto`: the one in its database, at first the best one found.
    Workers on several machines need a name until the database has one."""
    providers: str = "CPUExecutionProvider"
    """onnxruntime execution providers, comma separated, best first; an unavailable provider
    prevents the start."""
    intra_op_threads: int = Field(1, ge=1)
    """Threads of one model run; 1 with one process per core is fastest."""
    allow_spinning: bool = False
    """Let idle onnxruntime threads spin, which uses CPU."""
    # 640 alone misses every face that fills more than two thirds of the picture. 128 finds
    # them for 1.3 ms more (256: 4 ms; 320: 6 ms, and three false faces in 77 photos) without
    # a loss of accuracy where both find a face.
    detection_sizes: str = "128,640"
    """Input sizes of SCRFD in pixels, to which the longer side of a picture is scaled and whose
    results are merged; each a multiple of 32. 640 misses faces below about 1/32 of the longer
    side; smallest_face says which of these are searched for."""
    smallest_face: int = Field(24, ge=0)
    """Width in pixels of the smallest face that SCRFD finds in a picture of any size where all
    faces are wanted, or where detection_sizes show none; half of it takes four times as long.
    12 or more; 0: only what detection_sizes show."""
    detection_threshold: float = Field(0.5, gt=0, lt=1)
    """Lowest SCRFD score that counts as a face."""

    # Limits of media
    max_pixels: int = 40_000_000
    """Most pixels of a picture."""
    max_side: int = 12_000
    """Longest side of a picture in pixels."""
    decode_sandbox: bool = True
    """Decode pictures and clips in confined processes; `false` only if every source of pictures
    is trusted."""
    decode_memory_mb: int = Field(1024, ge=64)
    """Memory limit in megabytes for decoding one picture or clip."""
    decode_limit_s: float = Field(10.0, gt=0)
    """Limit in seconds of processor time for decoding one picture or clip; the wall-clock limit
    is four times as long."""
    max_body_bytes: int = 12 * 1024 * 1024
    """Largest request body in bytes."""
    max_clip_bytes: int = 20 * 1024 * 1024
    """Largest clip in bytes; a request with a clip in Base64 may be half as large again."""

    # Pictures by URL
    fetch_urls: bool = False
    """Download pictures that requests name by URL, with a worker of the stage `fetch`. Must be
    the same for every process."""
    fetch_concurrency: int = Field(4, ge=1)
    """Processes of the fetch worker; a slow server occupies one of them for
    fetch_deadline_s."""
    fetch_share: int = Field(2, ge=1)
    """Concurrent downloads of one application while others wait."""
    fetch_deadline_s: float = Field(10.0, gt=0, le=25)
    """Time limit in seconds of one download, from resolving its name to its last byte,
    including redirects."""
    fetch_max_bytes: int = Field(5 * 1024 * 1024, ge=1)
    """Largest downloaded picture in bytes."""
    fetch_ports: str = "80,443"
    """Allowed ports of downloads and webhooks, comma separated."""
    fetch_allow_networks: str = ""
    """Non-public networks from which downloads, and to which webhooks, are allowed, comma
    separated (`10.1.2.0/24,fd00:1::/64`)."""
    fetch_deny_networks: str = ""
    """Networks to which downloads and webhooks are denied, comma separated; overrides
    fetch_allow_networks."""

    # Webhooks
    webhook_concurrency: int = Field(8, ge=1, le=64)
    """Deliveries that a sender makes at a time, of one webhook at most four."""
    webhook_deadline_s: float = Field(15.0, gt=0, le=60)
    """Time limit in seconds of one attempt, from resolving the name to the answer's headers."""
    webhook_retry_for_h: float = Field(72.0, gt=0)
    """Hours for which a delivery is tried; then it is dead, and can be sent again."""
    webhook_retention_d: float = Field(30.0, gt=0)
    """Days for which dead deliveries are kept; others are kept for job_retention_h."""

    # Whole sources
    import_url: str = ""
    """Bucket, as `s3://bucket/folder` or `s3+http://host:port/bucket`, whose objects
    applications may enrol by `POST /batches`, each those below `tID/` (`faceline apps list`
    shows the number); read with the media store's credentials, never the media store's bucket.
    Empty: switched off. Must be the same for the shim and upkeep."""

    import_patience_h: float = Field(24.0, gt=0)
    """Hours for which an unreadable bucket of a batch is retried before the batch fails."""

    bulk_chunk: int = Field(32, ge=1, le=500)
    """Pictures of a batch per job."""
    bulk_in_flight: int = Field(8, ge=1)
    """Jobs of one batch that wait or run at a time. Reading of its source pauses meanwhile, so
    that batches take turns."""
    batch_retention_d: float = Field(90.0, gt=0)
    """Days after its last change for which the items of a batch are kept; until then the same
    command resumes it."""
    refused_picture_retention_d: float = Field(30.0, ge=0)
    """Days for which small pictures of the refused items of batches are kept, for who reviews them;
    not longer than their batch. 0: none are made, and those that there are go."""
    bulk_nice: int = Field(10, ge=0, le=19)
    """Niceness of the processes of the worker `bulk`."""
    bulk_false_findings: float = Field(1.0, gt=0)
    """Expected pairs of strangers that the duplicate search of a batch reports by mistake. A
    larger number misses fewer people under two names."""
    bulk_apart_fmr: float = Field(0.01, gt=0, le=0.1)
    """Share of strangers under one name that the search of a batch may miss. A smaller number
    reports more poor photos."""
    bulk_idle_s: float = Field(120.0, ge=0)
    """Idle seconds after which a process of the worker `bulk` releases its models; 0: never."""
    bulk_time_limit_s: float = Field(300.0, ge=1)
    """Seconds of processor time, or four times as long by the clock, after which a running chunk of
    a batch is split in two; a single picture that takes as long is rejected."""

    # Jobs
    hold_s: float = Field(30.0, ge=0)
    """Seconds for which a response is held before it becomes 202; `inf`: until the job has ended.
    An application can have its own (`faceline apps wait`)."""
    # A clip of 30 s takes 15 s of processor time, and may have to wait for another.
    living_hold_s: float = Field(120.0, ge=0)
    """The same for clips."""
    lease_s: float = Field(15.0, gt=0)
    """Seconds after which a silent worker counts as dead."""
    max_attempts: int = Field(3, ge=1)
    """Attempts of a job that kills its worker before it ends as crashed."""
    job_time_limit_s: float = Field(60.0, ge=1)
    """Seconds of processor time, or four times as long by the clock, after which a running job ends
    as timed out. Waiting in a queue does not count."""
    jobs_per_process: int = Field(10_000, ge=0)
    """Times that a worker process takes jobs before it is replaced; 0: never."""
    jobs_together: int = Field(8, ge=1, le=64)
    """Jobs on pictures that a worker process runs together at most when they wait; 1: each
    alone."""
    result_cache_mb: int = Field(8, ge=0)
    """Memory in megabytes in which a worker process keeps the faces of the last pictures, so that
    the same picture is not analysed twice; 0: it keeps none. Never liveness, nor anything of
    an encrypted application."""
    result_cache_s: float = Field(60.0, gt=0)
    """Seconds for which they are kept."""
    retry_for_s: float = Field(900.0, gt=0)
    """Seconds for which a job is retried while its stores are away, from its first failure on."""
    max_waiting: int = Field(200_000, ge=1)
    """Waiting jobs above which submits are refused with 503."""
    reconcile_interval_s: float = Field(2.0, gt=0)
    """Pause between two rounds of the reconciler."""
    resend_after_s: float = Field(5.0, gt=0)
    """Seconds after which a waiting job without a message is sent again."""
    job_retention_h: float = Field(24.0, gt=0)
    """Hours for which the result of a job can be polled."""
    usage_retention_d: float = Field(400.0, ge=62)
    """Days for which usage counts of applications are kept; whole days and months."""
    media_retention_h: float = Field(2.0, ge=1)
    """Hours for which the pictures of failed jobs are kept; other pictures are deleted with
    their job, unless they are enrolled."""
    row_picture_kb: int = Field(300, ge=0)
    """Kilobytes up to which a picture that is not to be enrolled waits for its job in the
    database and not in the media store, while fewer than 1,000 jobs wait; 0: none does."""
    image_lifetime_d: float = Field(30.0, gt=0)
    """Days for which pictures sent to document c keep their id after they were last sent;
    enrolled pictures stay."""
    intermediate_s: int = Field(600, ge=1)
    """Lifetime of an intermediate value in Redis in seconds."""
    redis_budget_mb: int = Field(1024, ge=1)
    """Megabytes in Redis above which pixels are no longer passed through it between stages; the
    next stage then decodes again."""

    # Search
    index_engine: Literal["auto", "flat", "codes", "hnsw"] = "auto"
    """Search engine: `flat` compares every vector, `codes` the nearest by sign-bit codes,
    `hnsw` searches a graph (needs the package hnswlib); `auto`: `flat` up to index_exact_limit,
    `codes` above."""
    index_exact_limit: int = Field(20_000, ge=0)
    """Faces of a tenant up to which `auto` compares every vector."""
    index_short_list: int = Field(2000, ge=1)
    """Vectors that `codes` compares exactly for each probe."""
    index_threads: int = Field(1, ge=1)
    """Threads with which hnswlib builds and searches a graph."""
    index_memory_mb: int = Field(0, ge=0)
    """Megabytes of galleries that an index process holds; the least recently searched ones are
    evicted, and loaded again by the next search. 0: unlimited."""
    index_snapshot_changes: int = Field(10_000, ge=1)
    """Fewest changes of a gallery between two snapshots of its index; a large gallery waits for
    a tenth of its size. A smaller gallery is read from the database at each start."""
    index_garbage_share: float = Field(0.25, gt=0, le=1)
    """Share of deleted faces at which an index is rebuilt."""
    index_canary_every: int = Field(1000, ge=0)
    """One in so many searches is repeated exactly to measure the recall; 0: none."""
    index_round_s: float = Field(5.0, gt=0)
    """Pause in seconds between two maintenance rounds of an index process."""
    purge_after_s: float = Field(3600.0, gt=0)
    """Seconds after which no index snapshot holds a deleted face."""
    vector_engine_url: SecretStr = SecretStr("")
    """`postgresql://...` with pgvector 0.7 or later: an index outside of the index processes, for
    galleries that outgrow them. A database of its own for each deployment. Empty: none."""
    vector_engine_faces: int = Field(1_000_000, ge=0)
    """Faces from which a gallery is served by the vector engine, until it has half as many.
    0: none is, and the engine is emptied."""
    vector_engine_encrypted: bool = False
    """Whether the vector engine also serves applications whose data are encrypted. It stores their
    vectors in clear."""
    vector_engine_lag: int = Field(1000, ge=1)
    """Changes that the vector engine may be behind: a search compares these faces from the
    database. Beyond, searches wait."""
    hnsw_links: int = Field(32, ge=2, le=512)
    """Links of a graph's node (hnswlib's M)."""
    hnsw_build_width: int = Field(400, ge=8)
    """Candidates when a graph is built (hnswlib's ef_construction)."""
    hnsw_search_width: int = Field(800, ge=8)
    """Candidates when a graph is searched (hnswlib's ef)."""

    # Clips
    living_rate: float = Field(15.0, ge=5, le=60)
    """Frames a second of a clip that are analysed."""
    living_min_score: float = Field(50.0, ge=0, le=100)
    """Lowest median of the passive scores of a live clip, 0 to 100; its worst second must reach
    half of it. At 50 a live face and a spoof are equally likely."""

    living_refuse_replays: bool = True
    """Reject a clip that was accepted as live before: the same file, or the same motion of the
    same face in any encoding."""
    living_remember_d: float = Field(90.0, gt=0)
    """Days for which an accepted clip is remembered."""
    living_challenge_s: float = Field(60.0, ge=5, le=3600)
    """Seconds for which a challenge can be used; its clip must have arrived by then."""

    # Quality limits of a face where the document asks for a check at enrolment. Nearly all
    # photos that people take of each other pass.
    quality_min_size: float = Field(40.0, ge=0)
    """Smallest shorter side of a face's box in pixels."""
    quality_min_blur: float = Field(36.0, ge=0, le=100)
    """Lowest sharpness, 0 to 100; larger is sharper. Motion blur, enlargement from few pixels,
    heavy noise and coarse JPEG lower it."""
    quality_min_brightness: float = Field(35.0, ge=0, le=255)
    """Lowest mean grey of a face."""
    quality_max_brightness: float = Field(225.0, ge=0, le=255)
    """Highest mean grey of a face."""
    quality_min_contrast: float = Field(12.0, ge=0, le=127)
    """Lowest standard deviation of a face's grey."""
    quality_max_yaw: float = Field(44.0, ge=0, le=90)
    """Largest turn of the head to either side in degrees."""
    quality_max_pitch: float = Field(45.0, ge=0, le=90)
    """Largest nod of the head up or down in degrees."""
    quality_max_roll: float = Field(45.0, ge=0, le=180)
    """Largest tilt of the head in degrees."""

    # Serving
    host: str = "127.0.0.1"
    """Address that the shim listens on."""
    port: int = Field(8600, ge=0, le=65535)
    """Port that the shim listens on."""
    console: bool = True
    """Serve the console at `/console` and the operators' API at `/admin`."""
    audit_retention_d: float = Field(1095.0, gt=0)
    """Days for which entries of the audit log are kept."""
    oidc_issuer: str = ""
    """Issuer URL of the identity provider (OpenID Connect) at which operators sign in, as its own
    discovery document writes it; needs the extra `oidc`. Empty: none."""
    oidc_client_id: str = ""
    """The console's client id at the identity provider."""
    oidc_client_secret: SecretStr = SecretStr("")
    """The client's secret; empty for a public client, which has only PKCE."""
    oidc_scopes: str = "openid profile email"
    """Scopes that are asked for, separated by blanks."""
    oidc_name_claim: str = "preferred_username"
    """Claim that names the operator. `email` counts only where `email_verified` is true."""
    oidc_role_claim: str = "groups"
    """Claim that oidc_roles and oidc_faces look at: a text or a list of texts. Dots lead into
    objects (`realm_access.roles`)."""
    oidc_roles: str = ""
    """Roles by values of oidc_role_claim, separated by semicolons (`face-admins=administrator;
    face-staff=operator`); the highest counts, who has none is refused. Empty: roles, and who sees
    people, are kept in the console."""
    oidc_faces: str = ""
    """Values of oidc_role_claim whose holders see pictures of people, separated by semicolons;
    counts with oidc_roles."""
    oidc_create_accounts: bool = False
    """Make an account for who signs in at the identity provider without one; without oidc_roles a
    viewer's. Else an administrator makes it first."""
    root_path: str = Field("", pattern=r"^(/[A-Za-z0-9._~%!$&'()*+;=:@-]+)*/?$")
    """Path under which a proxy shows the service, such as `/face`; it begins every link. Whether
    the proxy removes it from requests does not matter."""
    trusted_proxies: str = ""
    """Addresses and networks of proxies, comma separated (`127.0.0.1,10.1.2.0/24`), whose
    `X-Forwarded-Prefix` overrides root_path and whose `X-Forwarded-For` names the client; empty:
    these headers are ignored."""
    cors_origins: str = ""
    """Origins of web pages whose scripts may call the service, comma separated
    (`https://app.example,http://localhost:3000`); empty: none."""
    stages: str = ""
    """Stages that this worker serves, comma separated; `index` and `bulk` only alone. Empty:
    all but `fetch`, `index` and `bulk`."""
    concurrency: int = Field(0, ge=0)
    """Worker processes; 0: one for each core."""
    max_connections: int = Field(2000, ge=1)
    """Connections that the shim keeps open; idle ones give way to new ones, further ones are
    asked to retry."""
    drain_s: float = Field(10.0, ge=0)
    """Seconds for which a shim still takes requests after SIGTERM, while `/readyz` fails already:
    as long as a load balancer takes to notice. nginx by default tries a server that was away
    again after 10."""
    stop_s: float = Field(30.0, ge=0)
    """Seconds that requests held by a stopping shim then have for their jobs to end, before they
    are answered 202."""
    heartbeat_file: str = ""
    """File that a process other than a shim writes while its loop turns, for `faceline probe`; each
    needs one of its own. Empty: none."""
    signature_window_s: int = Field(300, ge=1)
    """Greatest difference in seconds between a signed request's timestamp and the server's
    clock."""
    b_tenant: str = ""
    """Name of the tenant of document b's requests without an API key; empty: they are
    rejected."""
    metrics_port: int = Field(0, ge=0, le=65535)
    """Port on which a process serves its metrics at `/metrics`, without credentials; a worker's
    parent serves those of its processes. 0: nothing is counted. The processes of `faceline up`
    take this port and those after it."""
    metrics_host: str = "127.0.0.1"
    """Address that metrics_port listens on; never one that strangers reach."""
    metrics_tenants: bool = False
    """Show names of applications in metrics."""
    celery_events: bool = False
    """Send Celery's events, which Flower shows."""
    traces_url: str = ""
    """OTLP/HTTP address of a collector for traces, as `http://collector:4318/v1/traces`; needs the
    extra `traces`. Empty: no traces."""
    traces_share: float = Field(1.0, ge=0, le=1)
    """Share of the calls that are traced; those with a `traceparent` as its flag says."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""
    log_format: Literal["text", "json"] = "text"
    """Form of a log line."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.media_retention_h * 3600 <= self.retry_for_s:
            raise ValueError("media_retention_h must be longer than retry_for_s")
        for size in self.detector_sizes:
            if size < 32 or size % 32:
                raise ValueError("detection_sizes must be multiples of 32")
        if 0 < self.smallest_face < 12:
            raise ValueError("smallest_face must be 0, or at least 12")
        return self

    @property
    def detector_sizes(self) -> tuple[int, ...]:
        return tuple(map(int, _parts(self.detection_sizes)))

    @property
    def provider_names(self) -> tuple[str, ...]:
        return _parts(self.providers)

    @property
    def data(self) -> DataDirectory:
        """The files in the data directory, as absolute paths."""
        return DataDirectory(self.data_dir.absolute())

    @property
    def sql_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data.database}"

    @property
    def wake_url(self) -> str:
        """The Redis for wake-ups and intermediate values."""
        return self.redis_url or self.broker_url

    @property
    def media_location(self) -> str:
        return self.media_url or f"file://{self.data.media}"

    @property
    def journal_location(self) -> str:
        return self.journal_url or self.media_url or f"file://{self.data.journal}"


def _parts(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises ``ConfigurationError``, which names every invalid variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"FACELINE_{str(item['loc'][0]).upper() if item['loc'] else '*'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError(wrong) from error
