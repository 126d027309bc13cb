"""Ending a listening socket without a broken connection.

The kernel completes connections before a process accepts them, and resets those that wait when the
listening socket closes: a proxy has sent its request by then and must not send a POST twice. So
connections are kept from beginning first, those begun are accepted, and then the socket closes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import struct

logger = logging.getLogger(__name__)

# Seconds for connections that have begun to be completed and accepted: more than a round trip.
SETTLE_S = 0.2

# <asm-generic/socket.h>; Python does not name it.
_SO_ATTACH_FILTER = 26

# A classic BPF program over the TCP header: drop a segment with SYN and without ACK, which begins a
# connection, and keep all others. Each instruction is (code, jump if true, jump if false, value).
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK of them
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def stop_new_connections(descriptor: int) -> bool:
    """Let no new connection begin on a listening socket; the client's kernel tries again a second
    later, and is refused once the socket is closed. False where the system cannot do it."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in _DROP_SYN))
    attached = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
    try:
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
    except OSError as error:
        logger.warning(
            "Connections that begin while this process stops may break: %s", error,
            extra={"action": "listener_not_drained"},
        )
        return False
    return True
