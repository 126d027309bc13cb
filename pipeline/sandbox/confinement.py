"""Restricts a process to its memory, its processor time and its open files. Linux only.

A decoder keeps only necessary rights: memory up to a limit, and reading and writing open files. An
allow-list of system calls (seccomp) denies files, sockets, processes and signals to code
that hostile bytes have taken over; other calls fail with EPERM. On machines other than
x86-64 and ARM64 only the limits apply.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

# <linux/prctl.h>, <linux/seccomp.h>, <linux/audit.h>
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
SECCOMP_SET_MODE_FILTER = 1
# Without this flag older kernels slow the process down by a tenth (Spectre mitigations).
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
EPERM = 1
PROT_EXEC = 4

# <linux/bpf_common.h>: load a word; jump if equal, if a bit is set; return.
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
# struct seccomp_data
NUMBER_AT, ARCHITECTURE_AT, THIRD_ARGUMENT_AT = 0, 4, 32

# Architecture: (AUDIT_ARCH_..., number of seccomp, allowed calls, calls that must not map
# executable memory). In the order of the kernel's tables.
_CALLS: dict[str, tuple[int, int, tuple[int, ...], tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E, 317,
        # read write close fstat poll lseek munmap brk rt_sigaction rt_sigprocmask
        # rt_sigreturn mremap sched_yield madvise nanosleep setitimer getpid exit
        # gettimeofday getrusage gettid futex sched_getaffinity clock_gettime
        # clock_nanosleep exit_group getrandom
        (0, 1, 3, 5, 7, 8, 11, 12, 13, 14, 15, 25, 24, 28, 35, 38, 39, 60,
         96, 98, 186, 202, 204, 228, 230, 231, 318),
        (9, 10),  # mmap mprotect
    ),
    "aarch64": (
        0xC00000B7, 277,
        (63, 64, 57, 80, 73, 62, 215, 214, 134, 135, 139, 216, 124, 233, 101, 103, 172, 93,
         169, 165, 178, 98, 123, 113, 115, 94, 278),
        (222, 226),
    ),
}


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def die_with(parent: int) -> None:
    """Makes the kernel kill this process when ``parent`` dies; exits when it is dead already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def lock(memory_bytes: int) -> None:
    """Confines this process permanently; it may allocate ``memory_bytes`` more than now.

    Raises ``OSError`` when the kernel refuses.
    """
    _be_first_to_go()
    _limit(resource.RLIMIT_AS, _address_space() + memory_bytes)
    for unwanted in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _limit(unwanted, 0)
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _allow_only()


def _be_first_to_go() -> None:
    """Makes the kernel kill decoders before workers when the machine runs out of memory."""
    with contextlib.suppress(OSError):  # the memory limit applies anyway
        Path("/proc/self/oom_score_adj").write_text("1000")


def _address_space() -> int:
    """Current size of this process's address space in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _allow_only() -> None:
    known = _CALLS.get(platform.machine())
    if known is None or sys.byteorder != "little":
        return
    architecture, seccomp, calls, mapping = known
    program = _filter(architecture, calls, mapping)
    handed = _Program(len(program) // 8, program)
    done = ctypes.CDLL(None, use_errno=True).syscall(
        seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, ctypes.byref(handed)
    )
    if done != 0:
        raise OSError(ctypes.get_errno(), "the kernel rejects the system call filter")


def _filter(architecture: int, calls: tuple[int, ...], mapping: tuple[int, ...]) -> bytes:
    """The filter as a classic BPF program (seccomp(2)). Denies calls of another architecture,
    unlisted calls, and mappings of executable memory."""
    compared = 3 + len(calls) + len(mapping)
    refuse, look, allow = compared, compared + 1, compared + 4
    steps = [(LOAD, 0, 0, ARCHITECTURE_AT), (JUMP_EQUAL, 0, refuse - 2, architecture)]
    steps.append((LOAD, 0, 0, NUMBER_AT))
    for number, target in [(call, allow) for call in calls] + [(call, look) for call in mapping]:
        # Jump distances count from the next step.
        steps.append((JUMP_EQUAL, target - len(steps) - 1, 0, number))
    steps += [
        (RETURN, 0, 0, RET_ERRNO | EPERM),
        (LOAD, 0, 0, THIRD_ARGUMENT_AT),
        (JUMP_SET, 0, 1, PROT_EXEC),
        (RETURN, 0, 0, RET_ERRNO | EPERM),
        (RETURN, 0, 0, RET_ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
