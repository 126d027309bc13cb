"""A file in which a process says that its loop turns, for probes of containers and pods.

    file = HeartbeatFile("/tmp/heartbeat", "worker")
    file.beat(ready=True)                     # now, and within the next minute again
    read_heartbeat("/tmp/heartbeat").fault("worker")   # "" when all is well
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Seconds for which a loop that turns every few seconds may be silent on a machine that is busy.
QUIET_S = 60.0

# Seconds between two beats of a loop that has nothing to do.
BEAT_EVERY_S = 5.0

# Bytes of the file: it is overwritten in place, which a full disk does not prevent.
LENGTH = 256


@dataclass(frozen=True, slots=True)
class LastBeat:
    """What a heartbeat file says. ``until`` is the time, by ``time.monotonic()``, which all
    processes of a machine share, up to which its process may be silent; ``ready``: it takes
    work."""

    role: str
    pid: int
    ready: bool
    until: float

    def fault(self, role: str, *, ready: bool = False) -> str:
        """What is wrong with this process as a ``role``; empty: nothing. With ``ready`` it must
        take work, too."""
        if self.role != role:
            return f"the file is that of the role {self.role}, not {role}"
        if not _runs(self.pid):
            return f"process {self.pid} has ended"
        late_s = time.monotonic() - self.until
        if late_s > 0:
            return f"process {self.pid} has been silent for {late_s:.0f} s longer than it may"
        if ready and not self.ready:
            return f"process {self.pid} takes no work: it starts, stops or waits for its stores"
        return ""


class HeartbeatFile:
    """The file of this process, which writes it again and again; ``path`` empty: none."""

    def __init__(self, path: str, role: str) -> None:
        self._path = Path(path) if path else None
        self._role = role
        self._failed = False

    def beat(self, *, ready: bool, quiet_s: float = QUIET_S) -> None:
        """Say that the loop turns and will again within ``quiet_s`` seconds. A file that cannot be
        written is logged once."""
        if self._path is None:
            return
        told = {
            "role": self._role, "pid": os.getpid(), "ready": ready,
            "until": round(time.monotonic() + quiet_s, 3),
        }
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(descriptor, json.dumps(told).ljust(LENGTH).encode(), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "The heartbeat file cannot be written: %s", error,
                    extra={"action": "heartbeat_failed"},
                )
            self._failed = True
        else:
            self._failed = False

    def remove(self) -> None:
        """The process ends by itself."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def read_heartbeat(path: str) -> LastBeat:
    """What the file says. Raises ``ConfigurationError`` when it is no heartbeat file or does not
    exist."""
    try:
        return LastBeat(**json.loads(Path(path).read_text()))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} is no heartbeat file") from error


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
