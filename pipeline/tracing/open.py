"""Creates the tracer of the settings. Where traces are switched off, nothing of OpenTelemetry is
imported."""

from __future__ import annotations

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.tracing.tracer import Tracer


def open_tracer(settings: Settings, role: str) -> Tracer:
    """The tracer of this process, which is a ``role``; make it after a fork. Raises
    ``ConfigurationError`` when traces are switched on and the package is missing."""
    if not settings.traces_url:
        return Tracer()
    try:
        from pipeline.tracing.export import OtelTracer
    except ImportError as error:
        raise ConfigurationError(
            "FACELINE_TRACES_URL needs the extra `traces`: pip install 'faceline[traces]'"
        ) from error
    return OtelTracer(settings.traces_url, settings.traces_share, role)
