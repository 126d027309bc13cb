"""Whether a file system has room: what its errors say, and a try."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

# Bytes that must be free where uploads or rows are written: a photo of a phone. With less, some
# uploads would be accepted and others refused.
ROOM_BYTES = 1_000_000

# Errors of a full disk, and of a user who may not store more.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_no_space(error: BaseException | None) -> bool:
    """Whether the operating system reported that no space is left."""
    return isinstance(error, OSError) and error.errno in _FULL


def require_room(folder: Path, size: int = ROOM_BYTES) -> None:
    """Reserve ``size`` bytes in ``folder`` for a moment, without writing them. Raises
    ``OSError``."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.write(bytes(size))
            file.flush()
