"""Decoders with a fault, which the sandbox of ``faulty_worker`` runs.

The function's name tells the fault on a picture that contains ``MARK``; other pictures are
decoded as usual.
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
