"""Counts calls, processor time and time of the steps of a held call, inside the processes of a
running service.

``environment(folder)`` makes every Python process that is started with it count; ``read``
gives what they have counted so far. Each process counts in a file of its own, also after a
fork. A step's own time is without that of the steps inside it.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "STEP_PROBES_FOLDER"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Step:
    """``target`` is ``module:function`` or ``module:Class.method``. Steps of one name are
    counted together."""

    name: str
    target: str

    @property
    def module(self) -> str:
        return self.target.split(":")[0]


STEPS = (
    Step("read, authenticate", "api_shim.submit:DialectRoute._accept_or_refuse"),
    Step("header of the picture", "pipeline.media.pictures:inspect"),
    Step("accept", "api_shim.accept_job:JobAcceptance.accept"),
    Step("store the picture", "pipeline.media.directory:DirectoryStore.put"),
    Step("store the picture", "pipeline.media.directory:DirectoryStore.put_many"),
    Step("record the job", "pipeline.jobs.store:JobStore.submit"),
    Step("send a message", "workers.dispatch:Dispatcher.publish"),
    Step("read the job", "pipeline.jobs.reader:JobReader.find"),
    Step("render", "api_shim.dialects.e.envelope:outcome"),
    Step("claim", "pipeline.jobs.together:JobsTogether.claim"),
    Step("fetch the picture", "pipeline.media.rows:RowReadingStore.get"),
    Step("decode", "pipeline.stages.decode:decode_inspected"),
    Step("detect", "pipeline.stages.detect:detect"),
    Step("detect", "pipeline.stages.detect:detect_largest"),
    Step("quality", "pipeline.stages.quality:measure"),
    Step("align", "pipeline.stages.align:align_faces"),
    Step("embed", "pipeline.stages.embed:embed"),
    Step("run the job", "workers.run_together:run_jobs"),
    Step("end the job", "pipeline.jobs.together:JobsTogether.end"),
    Step("look for company", "workers.company:Company.take"),
    Step("wake the waiting", "workers.job_notifier:JobNotifier.publish"),
    Step("delete the picture", "pipeline.media.directory:DirectoryStore.delete"),
)

_SLOT = 3  # calls, processor time, time; nanoseconds
_NAMES = tuple(dict.fromkeys(step.name for step in STEPS))
_SIZE = 8 * _SLOT * len(_NAMES)


@dataclass(frozen=True, slots=True)
class Count:
    """Of one step in one process, so far; seconds."""

    calls: int
    cpu_s: float
    wall_s: float


def environment(folder: Path) -> dict[str, str]:
    """The variables that make a Python process count into ``folder``."""
    code = "from tests.benchmarks.step_probes import install\ninstall()\n"
    (folder / "sitecustomize.py").write_text(code)
    path = [str(folder), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {FOLDER: str(folder), "PYTHONPATH": os.pathsep.join(filter(None, path))}


def read(folder: Path) -> dict[int, dict[str, Count]]:
    """The counts so far, by process id and name of the step."""
    found = {}
    for path in folder.glob("*.steps"):
        slots = memoryview(path.read_bytes()).cast("q")
        found[int(path.stem)] = {
            name: Count(slots[at], slots[at + 1] / 1e9, slots[at + 2] / 1e9)
            for at, name in zip(range(0, len(slots), _SLOT), _NAMES, strict=True)
        }
    return found


def install() -> None:
    """Count in this process and in those that it forks."""
    folder = os.environ.get(FOLDER)
    if folder is not None:
        counter = _Counter(Path(folder))
        os.register_at_fork(after_in_child=counter.open)
        sys.meta_path.insert(0, _ProbingFinder(counter))


class _Counter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inner = threading.local()
        self.open()

    def open(self) -> None:
        path = self._folder / f"{os.getpid()}.steps"
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self._slots = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")

    def measured(self, function: Callable[..., Any], number: int) -> Callable[..., Any]:
        local = self._inner

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            outer: list[int] = getattr(local, "spent", [0, 0])
            local.spent = [0, 0]
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
                inner = local.spent
                at, slots = _SLOT * number, self._slots
                slots[at] += 1
                slots[at + 1] += cpu - inner[0]
                slots[at + 2] += wall - inner[1]
                local.spent = [outer[0] + cpu, outer[1] + wall]

        return run


class _ProbingFinder(MetaPathFinder):
    """Wraps the functions of a module as soon as the module is executed, before another one
    imports them from it."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._modules = {step.module for step in STEPS}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_wrap(module: ModuleType) -> None:
                execute(module)
                self._wrap(module)

            spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap(self, module: ModuleType) -> None:
        for step in STEPS:
            if step.module == module.__name__ and (place := _place(step, module)) is not None:
                holder, name = place
                number = _NAMES.index(step.name)
                setattr(holder, name, self._counter.measured(getattr(holder, name), number))


def _place(step: Step, module: ModuleType) -> tuple[Any, str] | None:
    """What holds the step's function, and its name there."""
    *holders, name = step.target.split(":")[1].split(".")
    place: Any = module
    for holder in holders:
        place = getattr(place, holder, None)
    return (place, name) if hasattr(place, name) else None


def missing() -> list[str]:
    """The targets that are not there any more: their time counts as their caller's."""
    return [
        step.target for step in STEPS
        if importlib.util.find_spec(step.module) is None
        or _place(step, importlib.import_module(step.module)) is None
    ]


def by_process(
    before: Mapping[int, Mapping[str, Count]], after: Mapping[int, Mapping[str, Count]], pid: int
) -> dict[str, Count]:
    """What one process has counted between two readings, without steps that it has not made."""
    earlier = before.get(pid, {})
    found = {}
    for name, count in after.get(pid, {}).items():
        was = earlier.get(name, Count(0, 0.0, 0.0))
        if count.calls > was.calls:
            found[name] = Count(
                count.calls - was.calls, count.cpu_s - was.cpu_s, count.wall_s - was.wall_s
            )
    return found
