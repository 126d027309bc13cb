"""Which of its jobs a process runs at the moment, for the parent that survives it.

A process that takes several jobs together may be killed by one of them. The parent reads
here which one it was, so that the others lose no attempt.
"""

from __future__ import annotations

import mmap
import os
import struct

_PLACE = struct.Struct("=I32s")

# Places, one a process number modulo this. Should two living processes share one, the other's
# number is found in it: the job is unknown.
_PLACES = 1 << 16


class RunningNotes:
    """Memory that a parent shares with its processes. Make it before the fork."""

    def __init__(self) -> None:
        # Pages that nobody writes to take no memory.
        self._memory = mmap.mmap(-1, _PLACES * _PLACE.size)

    def write(self, job_id: str) -> None:
        """Note that this process runs the job; the empty text: none, or several at once."""
        pid = os.getpid()
        _PLACE.pack_into(self._memory, _offset(pid), pid, job_id.encode())

    def of(self, pid: int) -> str | None:
        """The job that a dead process ran; None when that is unknown."""
        noted, job_id = _PLACE.unpack_from(self._memory, _offset(pid))
        return job_id.rstrip(b"\0").decode() or None if noted == pid else None


def _offset(pid: int) -> int:
    return pid % _PLACES * _PLACE.size
