"""No core dumps: a process that dies would leave pictures, vectors and keys on a disk."""

from __future__ import annotations

import resource

# Bytes. The kernel writes no file so small, and for this one value it does not call the
# program of a `core_pattern` that begins with "|" (systemd-coredump, apport) either; for such
# programs a limit of 0 does not count (fs/coredump.c). Unlike PR_SET_DUMPABLE it leaves /proc
# and debuggers of the same user as they are.
NO_CORE_BYTES = 1


def forbid_core_dumps() -> None:
    """Have the kernel write no memory of this process, and of those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = NO_CORE_BYTES if hard == resource.RLIM_INFINITY else min(hard, NO_CORE_BYTES)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
