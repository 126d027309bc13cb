"""Functions that a sandbox runs in tests: the possible effects of hostile bytes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NotAPicture
from pipeline.sandbox.messages import Decoded
from pipeline.types import JsonObject


def echo(data: bytes, options: JsonObject) -> Decoded:
    """The bytes, with other values: kinds, shapes, nothing at all."""
    flat = np.frombuffer(data, np.uint8)
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Decoded([flat, grid.T, np.zeros((0, 3), np.int64)], {"options": options})


def tell_process(data: bytes, options: JsonObject) -> Decoded:
    """The number of this process."""
    return Decoded([], {"pid": os.getpid()})


def crash(data: bytes, options: JsonObject) -> Decoded:
    """Read where nothing is."""
    ctypes.string_at(8)
    return Decoded([])


def crash_if_used(data: bytes, options: JsonObject, _seen: list[int] = []) -> Decoded:  # noqa: B006
    """As if an earlier task had left damage behind."""
    _seen.append(1)
    return crash(data, options) if len(_seen) > 1 else Decoded([], {"seen": len(_seen)})


def hang(data: bytes, options: JsonObject) -> Decoded:
    """Use the processor without end."""
    while True:
        pass


def leave(data: bytes, options: JsonObject) -> Decoded:
    """End without a word."""
    os._exit(0)


def eat(data: bytes, options: JsonObject) -> Decoded:
    """Ask for more memory than there may be, and use it."""
    return Decoded([np.ones(options["bytes"], np.uint8)])


def overflow(data: bytes, options: JsonObject) -> Decoded:
    """Give more than was agreed upon, little by little."""

    def grow() -> Iterator[NDArray[Any]]:
        while True:
            yield np.zeros(1_000, np.uint8)

    return Decoded(grow())


def chatter(data: bytes, options: JsonObject) -> Decoded:
    """Tell more than a message holds."""
    return Decoded([], {"long": "x" * 1_000_000})


def refuse(data: bytes, options: JsonObject) -> Decoded:
    """The error of a decoder on bytes that it does not know."""
    raise NotAPicture("Not today.")


def fail(data: bytes, options: JsonObject) -> Decoded:
    """A fault of the service."""
    raise ZeroDivisionError("nobody foresaw this")


def escape(data: bytes, options: JsonObject) -> Decoded:
    """Try everything that a taken-over process would; the result of each. ``worker`` is
    the number of a process of the same user, ``file`` one that could be written."""
    worker = options["worker"]
    attempts: dict[str, Callable[[], object]] = {
        "read a file": lambda: Path("/etc/passwd").read_bytes(),
        "write a file": lambda: Path(options["file"]).write_bytes(b"x"),
        "list a folder": lambda: list(Path("/").iterdir()),
        "open a socket": lambda: socket.socket(),
        "fork": os.fork,
        "start a program": lambda: subprocess.run([sys.executable, "-c", "0"], check=False),
        "signal its worker": lambda: os.kill(worker, 0),
        "read its worker's limits": lambda: resource.prlimit(worker, resource.RLIMIT_CPU),
        "make memory executable": lambda: mmap.mmap(-1, 4096, prot=7),
    }
    return Decoded([], {name: _outcome(attempt) for name, attempt in attempts.items()})


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def surroundings(data: bytes, options: JsonObject) -> Decoded:
    """The names in the environment, and the open descriptors."""
    there = [number for number in range(256) if _is_open(number)]
    return Decoded([], {"environment": sorted(os.environ), "open": there})


def _is_open(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        return error.errno != errno.EBADF
    return True
