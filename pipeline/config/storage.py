"""The settings of where things are and of which models are served; ``config`` adds the
others."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class StorageSettings(BaseSettings):
    """The first part of ``config.Settings``."""

    model_config = SettingsConfigDict(env_prefix="FACELINE_", extra="ignore", frozen=True)

    # Where things are
    data_dir: Path = Field(
        Path(".faceline"), description="Directory of the embedded stack: database, media, keys."
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite in the data directory."
    )
    broker_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Celery broker; Redis, or RabbitMQ when redis_url names a Redis beside it.",
    )
    redis_url: str = Field(
        "",
        description="Redis for wake-ups and intermediate values; empty: the broker's.",
    )
    media_url: str = Field(
        "",
        description="`file:///path` or `s3://bucket` (`s3+http://host:port/bucket` for a private "
        "server); empty: `media` in the data directory.",
    )
    media_access_key: str = Field("", description="Access key of the S3 media store.")
    media_secret_key: SecretStr = Field(
        SecretStr(""), description="Secret key of the S3 media store."
    )
    media_region: str = Field("us-east-1", description="Region of the S3 media store.")
    master_key: SecretStr = Field(
        SecretStr(""),
        description="32 bytes in Base64 that encrypt the secrets at rest; empty: a key file.",
    )
    master_keys_old: SecretStr = Field(
        SecretStr(""),
        description="Former master keys, comma separated, which still open what was sealed "
        "under them.",
    )
    master_key_file: str = Field(
        "",
        description="File with a master key a line, the current one first, which processes read "
        "again when it changes; empty: `master.key` in the data directory, made at first use.",
    )
    encrypt_at_rest: bool = Field(
        False, description="Encrypt what is stored of new applications, each under a key of its "
        "own: pictures, vectors, indexes, results. `faceline secrets encrypt-tenant` does it for "
        "others."
    )

    # Models
    models: str = Field(
        "", description="Directory of model packs; empty: ./models, ../shared/models, "
        "~/.insightface/models are searched.",
    )
    models_url: str = Field(
        "https://github.com/deepinsight/insightface/releases/download/model-zoo",
        description="Where `faceline models pull` finds the archives of InsightFace packs.",
    )
    pack: str = Field(
        "auto", description="Model pack to serve; `auto` takes the best one that is found."
    )
    providers: str = Field(
        "CPUExecutionProvider",
        description="onnxruntime execution providers, comma separated, best first; a provider "
        "that is not available stops the start.",
    )
    intra_op_threads: int = Field(
        1, ge=1, description="Threads inside one model run; 1 with one process a core is fastest."
    )
    allow_spinning: bool = Field(
        False, description="Let idle onnxruntime threads spin; costs CPU while waiting."
    )
    # 640 alone misses every face that fills more than two thirds of the picture; 128
    # sees those for 1.3 ms more (256: 4 ms, 320: 6 ms and three false faces on 77
    # photos) and costs no accuracy where both see a face.
    detection_sizes: str = Field(
        "128,640",
        description="Side lengths in pixels at which SCRFD looks for faces, merged; each a "
        "multiple of 32.",
    )
    detection_threshold: float = Field(
        0.5, gt=0, lt=1, description="Lowest SCRFD score that counts as a face."
    )
