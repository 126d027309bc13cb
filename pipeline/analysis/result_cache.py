"""Results of the last pictures, so that the same picture is not analysed twice in a row.

Results are kept by content, for the same tenant and the same options, in the memory of one
process, for a short time. The tenant is part of the key because a quick answer tells that the
picture was seen before, which nobody may learn of another tenant's pictures. The pack is not: a
process serves one. Scores of liveness are never kept, nor results of encrypted pictures, whose
data stay in memory for no longer than their job.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.engine import ExaminedPicture
from pipeline.config.settings import Settings
from pipeline.errors import BadQuality, FaceError, ManyFaces, NoFace
from pipeline.types import AnalysisOptions

# Errors that the same pixels cause every time; decoding may also fail for want of memory.
KEPT_ERRORS = (NoFace, ManyFaces, BadQuality)

# Bytes of an entry, and of a face without its cutout and embedding, roughly.
_ENTRY_BYTES, _FACE_BYTES = 1000, 2000


class AnalysisKey(NamedTuple):
    """``sha256`` is that of the picture's file (hex)."""

    tenant_id: int
    sha256: str
    options: AnalysisOptions


@dataclass(frozen=True, slots=True, eq=False)
class KeptAnalysis:
    """What was found in a picture and its embeddings, shape (faces, dimension), or the error
    that it caused."""

    examined: ExaminedPicture | None
    embeddings: NDArray[np.float32]
    error: FaceError | None = None

    @classmethod
    def of(cls, examined: ExaminedPicture, embeddings: NDArray[np.float32]) -> Self:
        # Copied, because it may be a part of a larger array.
        return cls(replace(examined, crops=[]), embeddings.copy())

    @classmethod
    def of_error(cls, error: FaceError) -> Self:
        return cls(None, np.empty((0, 0), np.float32), _bare(error))

    def found(self) -> ExaminedPicture:
        """Raises a copy of the error that the picture caused."""
        if self.examined is None:
            assert self.error is not None
            raise _bare(self.error)
        return self.examined

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        if self.examined is None:
            return _ENTRY_BYTES
        return (
            _ENTRY_BYTES + self.embeddings.nbytes + _FACE_BYTES * len(self.examined.faces)
            + sum(map(len, self.examined.cutouts))
        )


class AnalysisCache:
    """Keeps at most ``max_bytes``, each result for at most ``max_age_s`` seconds of ``clock``;
    the oldest make room for new ones. For one thread."""

    def __init__(
        self, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: OrderedDict[AnalysisKey, tuple[float, KeptAnalysis]] = OrderedDict()
        self.bytes = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None when it is switched off."""
        if settings.result_cache_mb == 0:
            return None
        return cls(settings.result_cache_mb * 1024 * 1024, settings.result_cache_s)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: AnalysisKey) -> KeptAnalysis | None:
        self._drop_old()
        found = self._kept.get(key)
        return None if found is None else found[1]

    def put(self, key: AnalysisKey, analysis: KeptAnalysis) -> None:
        """Raises no error; a result above ``max_bytes`` is not kept."""
        self._drop_old()
        if key in self._kept:
            self._drop(key)
        while self._kept and self.bytes + analysis.size > self._max_bytes:
            self._drop(next(iter(self._kept)))
        if analysis.size <= self._max_bytes:
            self._kept[key] = (self._clock(), analysis)
            self.bytes += analysis.size

    def _drop_old(self) -> None:
        oldest = self._clock() - self._max_age_s
        while self._kept:
            key, (kept_at, _) = next(iter(self._kept.items()))
            if kept_at > oldest:
                return
            self._drop(key)

    def _drop(self, key: AnalysisKey) -> None:
        self.bytes -= self._kept.pop(key)[1].size


def _bare(error: FaceError) -> FaceError:
    """A copy without the traceback, whose frames hold the picture."""
    bare = type(error).__new__(type(error))
    bare.args = error.args
    bare.__dict__.update(error.__dict__, picture=None)
    return bare
