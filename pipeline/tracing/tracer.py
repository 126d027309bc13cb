"""Spans, as the service's processes write them down. These record nothing: traces are switched
off. Those of ``export`` do."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from pipeline.errors import FaceError
from pipeline.tracing.context import TraceContext

_NOTHING: AbstractContextManager[None] = nullcontext()


class Span:
    """A piece of work within a trace; its attributes are ids, names and numbers, and nothing that a
    client sent. This one is of no trace, and records nothing."""

    context: TraceContext | None = None

    def child(self, name: str, **attributes: str | float | bool) -> Span:
        """A part of this work that begins now."""
        return self

    def add_child(
        self, name: str, begun: float, seconds: float, **attributes: str | float | bool
    ) -> None:
        """A part of this work that took ``seconds`` from ``begun`` (epoch seconds) on."""

    def active(self) -> AbstractContextManager[None]:
        """Within, log lines of this thread or task name the span; it does not end with it."""
        return _NOTHING

    def set(self, **attributes: str | float | bool) -> None:
        """Say more about the work."""

    def end(self, error: str | None = None) -> None:
        """The work is done, or has failed with the code ``error``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Ends the span, with the code of an error."""


NO_SPAN = Span()


class Tracer:
    """Begins spans. This one begins none: traces are switched off."""

    def request(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """A request that has come in, and whose headers may name a parent."""
        return NO_SPAN

    def job(self, name: str, traceparent: str | None, **attributes: str | float | bool) -> Span:
        """A claimed job, of the trace that its row names; of none without."""
        return NO_SPAN

    def close(self) -> None:
        """Export what is recorded, within two seconds."""


def code_of(error: BaseException | None) -> str | None:
    """The code under which a span names an error."""
    if error is None:
        return None
    return error.code if isinstance(error, FaceError) else FaceError.code
