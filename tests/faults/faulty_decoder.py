"""Decoders with a fault: what ``faulty_worker`` has its sandbox run instead.

What happens over a picture that contains ``MARK`` is in the function's name; the others
are decoded as ever.
"""

from __future__ import annotations

import ctypes

import numpy as np

from pipeline.sandbox.messages import Decoded
from pipeline.stages.decode import decode_here
from pipeline.types import JsonObject

MARK = b"FACELINE-TEST-POISON"
MODULE = "tests.faults.faulty_decoder"


def crash(data: bytes, header: JsonObject) -> Decoded:
    if MARK in data:
        ctypes.string_at(8)
    return decode_here(data, header)


def hang(data: bytes, header: JsonObject) -> Decoded:
    while MARK in data:
        pass
    return decode_here(data, header)


def eat(data: bytes, header: JsonObject) -> Decoded:
    kept = []
    while MARK in data:
        kept.append(np.ones(1024 * 1024, np.uint8))
    return decode_here(data, header)
