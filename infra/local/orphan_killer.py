"""Kills the process groups of a supervisor that dies without cleaning up.

Run as a script with a pipe as stdin; its arguments are the groups that run already. A line
``+PGID`` adds a group, ``-PGID`` removes it. The pipe ends when the supervisor is gone for any
reason; then the remaining groups are killed. That reaches processes that the kernel's own signal
(``die_with_parent.py``) does not: the children of children.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    groups = set(map(int, sys.argv[1:]))
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
