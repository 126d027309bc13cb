"""An index process that kills itself at a chosen moment.

    python -m tests.faults.index_victim GALLERY MEDIA ENGINE

reads lines ``HOOK COUNT`` from standard input, forks for each a process that opens a
view and follows the gallery, and kills it at its COUNT-th call of HOOK; answers
with the signal that ended it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.index import tenant_view as view_module
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.index.vector_rows import VectorRows
from pipeline.media.directory import DirectoryStore
from tests.index_source import TENANT, FileGallery

HOOKS: dict[str, tuple[Any, str]] = {
    "add": (VectorRows, "_assign_row"),
    "delete": (VectorRows, "_clear"),
    "rebuild": (FileGallery, "all_entries"),
    "upload": (DirectoryStore, "put"),
    "placed": (DirectoryStore, "_place"),
    "record": (FileGallery, "record_snapshot"),
    "swap": (view_module, "discard_snapshots"),
    "discard": (DirectoryStore, "delete"),
}


def main(gallery: str, media: str, engine: str) -> None:
    source, store = FileGallery(Path(gallery)), DirectoryStore(Path(media))
    choice = EngineChoice(engine, short_list=100)  # type: ignore[arg-type]
    view = TenantView(TENANT, source, store, ViewOptions(engine_choice=choice, canary_every=0))
    for line in sys.stdin:
        hook, count = line.split()
        child = os.fork()
        if not child:
            live_and_die(view, hook, int(count))
        print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)


def live_and_die(view: TenantView, hook: str, count: int) -> NoReturn:
    """The whole life of an index process; ends it at ``hook``."""
    owner, name = HOOKS[hook]
    setattr(owner, name, dying(getattr(owner, name), count))
    try:
        view.open()
        view.snapshot()
        view.compact()
        view.rebuild()
        view.snapshot()
    finally:
        os._exit(0)


def dying(function: Callable[..., object], count: int) -> Callable[..., object]:
    """``function``, but the process dies after the work of its ``count``-th call."""
    calls = 0

    def counting(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        answer = function(*arguments, **named)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return counting


if __name__ == "__main__":
    main(*sys.argv[1:])
