"""Which trace the work at hand belongs to (W3C Trace Context, level 1).

Only `traceparent` is used: its ids and the flag `sampled`. `tracestate` belongs to the vendors of
tracers, of which none stands between this service's processes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = "ff"
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span, by which others name it as their parent: ids in lower-case hex, 32 and 16 digits.
    ``sampled``: the caller records the trace."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header that hands the trace on."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


CURRENT: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
"""The span in which this thread or task works; None outside of any trace."""


def read_traceparent(text: str | None) -> TraceContext | None:
    """The parent that a header names; None for one that the specification calls invalid: the
    trace then begins here. Of a later version the parts that version 00 has are read."""
    found = _TRACEPARENT.fullmatch(text or "")
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _INVALID_VERSION or (version == "00" and more):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def parent_of_request(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """The parent that a request names, whose header names are in lower case. Two headers are
    as good as none."""
    found = [value for name, value in headers if name == b"traceparent"]
    return read_traceparent(found[0].strip().decode("latin-1")) if len(found) == 1 else None


class TraceFields(logging.Filter):
    """Gives log records the ids of the trace in which they were written."""

    def filter(self, record: logging.LogRecord) -> bool:
        current = CURRENT.get()
        if current is not None:
            record.trace_id = current.trace_id
            record.span_id = current.span_id
        return True
