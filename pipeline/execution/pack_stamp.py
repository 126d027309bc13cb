"""The mark of the pack on what crosses from one worker to the next.

It is one of the context's values, which a worker without this module does not look at: old and new
workers exchange contexts during an upgrade.
"""

from __future__ import annotations

import msgspec

from pipeline.errors import IntermediateLost
from pipeline.execution.context import JobContext


class PackStamp(msgspec.Struct, frozen=True):
    """``digest``: that of the pack which ran the stages so far."""

    digest: str


def stamp_pack(context: JobContext, digest: str | None) -> JobContext:
    """The context with the mark of a pack; without models (None) as it is."""
    return context if digest is None else context.add(PackStamp(digest))


def check_pack(context: JobContext, digest: str | None) -> None:
    """Raises ``IntermediateLost`` when another pack has marked the context: its boxes, crops and
    embeddings do not fit the models here. A context without a mark, or a worker without models
    (None), fits."""
    if digest is None or PackStamp.__name__ not in context.values:
        return
    if context.get(PackStamp).digest != digest:
        raise IntermediateLost("Another model pack ran the stages before.")
