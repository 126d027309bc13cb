"""Executes a command that the kernel kills when its parent dies (Linux).

Run as a script: ``python die_with_parent.py PARENT_PID COMMAND...``. It is a program because a
``preexec_fn`` is not safe between fork and exec of a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives exec, is not inherited by fork


def main() -> None:
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call.
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
