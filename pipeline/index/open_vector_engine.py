"""The vector engine that the settings choose."""

from __future__ import annotations

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.index.vector_engine import VectorEngine


def open_vector_engine(settings: Settings) -> VectorEngine | None:
    """The engine that the settings name; None: there is none. Raises ``ConfigurationError``."""
    url = settings.vector_engine_url.get_secret_value()
    if not url:
        return None
    if url.partition(":")[0] in ("postgresql", "postgres"):
        from pipeline.index.pgvector import PgvectorEngine

        return PgvectorEngine(url)
    raise ConfigurationError("FACELINE_VECTOR_ENGINE_URL is not postgresql://...")
