"""Kill the process groups of a supervisor that dies without cleaning up.

Run as a script with a pipe as stdin: a line ``+PGID`` adds a group, ``-PGID`` takes
it away; at the end of the file, which comes when the supervisor is gone however it
went, the groups that are left are killed. That reaches what the kernel's own signal
(``die_with_parent.py``) does not: the children of children.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    groups: set[int] = set()
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
