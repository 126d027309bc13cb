"""onnxruntime sessions with our threads, memory and providers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from pipeline.config import Settings
from pipeline.errors import PackDamaged, ProviderUnavailable

_ERRORS = 3
"""onnxruntime's severity: errors and worse; the fallbacks that it warns of are
checked here."""


def check_providers(settings: Settings) -> None:
    """Raises ``ProviderUnavailable`` when this build of onnxruntime lacks one of the
    configured execution providers."""
    present = onnxruntime.get_available_providers()
    missing = [name for name in settings.provider_names if name not in present]
    if missing or not settings.provider_names:
        raise ProviderUnavailable(
            f"onnxruntime has no {', '.join(missing) or 'provider configured'} here; it has "
            f"{', '.join(present)}. Set FACELINE_PROVIDERS, or install the onnxruntime build "
            "for this hardware."
        )


def open_session(path: Path, settings: Settings, *, arena: bool = True) -> Any:
    """A session on the configured providers.

    Without ``arena`` memory is returned after each run; that is for models whose
    inputs vary in size, for which the arena only grows. Raises ``PackDamaged`` when
    the file is not a model, ``ProviderUnavailable`` when a provider does not start.
    """
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=_options(settings, arena), providers=settings.provider_names
        )
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise PackDamaged(f"onnxruntime cannot load {path}: {error}") from error
    # onnxruntime goes on without a provider that fails to start.
    started = session.get_providers()
    failed = [name for name in settings.provider_names if name not in started]
    if failed:
        raise ProviderUnavailable(
            f"{', '.join(failed)} is part of onnxruntime here but did not start (driver or "
            "libraries missing); it would have run on the CPU in silence."
        )
    return session


def _options(settings: Settings, arena: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = arena
    options.log_severity_level = _ERRORS
    spinning = "1" if settings.allow_spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    return options
