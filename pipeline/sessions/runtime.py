"""onnxruntime sessions with the configured threads, memory and providers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _states

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged, PackError, ProviderUnavailable

# onnxruntime's exceptions have no common base below `Exception`.
_ERRORS: tuple[type[Exception], ...] = tuple(
    value
    for value in vars(_states).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
_RUN_ERRORS: tuple[type[Exception], ...] = (*_ERRORS, cv2.error)

_SEVERITY = 3
"""onnxruntime logs errors and worse. This module checks the fallbacks that it only warns
about."""


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


@cache
def _share_arena() -> None:
    """Registers the arena that the sessions of this process share. An arena of each session's own
    would hold the largest run of its model."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(place, None)


def open_session(path: Path, settings: Settings, model: bytes | None = None) -> Any:
    """A session on the configured providers, for the file or for ``model`` derived from it.

    Raises ``PackDamaged`` when the file is not a model, ``ProviderUnavailable`` when
    a provider does not start.
    """
    try:
        session = onnxruntime.InferenceSession(
            str(path) if model is None else model,
            sess_options=_options(settings),
            providers=list(settings.provider_names),
        )
    except _ERRORS as error:
        raise PackDamaged(f"onnxruntime cannot load {path}: {error}") from error
    # onnxruntime continues without a provider that fails to start.
    started = session.get_providers()
    failed = [name for name in settings.provider_names if name not in started]
    if failed:
        raise ProviderUnavailable(
            f"onnxruntime has {', '.join(failed)}, but it did not start: a driver or a library "
            "may be missing. The model would silently run on the CPU."
        )
    return session


@contextmanager
def mapped_run_errors(model: Path) -> Iterator[None]:
    """Translates errors of a model run into ``PackError``."""
    try:
        yield
    except _RUN_ERRORS as error:
        raise PackError(f"The model {model.name} failed: {error}") from error


def _options(settings: Settings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    # ORT_PARALLEL hangs in a forked process.
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The memory arena grows without bound only for inputs of ever new shapes. These models
    # have a few fixed shapes; for them the arena is smaller and faster: the detector at 128
    # and 640 takes 73 MB with it and 190 MB without, and 20 ms per picture instead of 26.
    options.enable_cpu_mem_arena = True
    # One arena for all sessions, without a block planned for each shape: a process with detector
    # and embedder takes 135 MB instead of 179, and no more time.
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    options.log_severity_level = _SEVERITY
    spinning = "1" if settings.allow_spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    return options
