"""Embedding every face of a gallery with the other pack of an upgrade, beside the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from pipeline.analysis.engine import AnalysisResources
from pipeline.encryption.data_key import KeySource
from pipeline.errors import GalleryBusy
from pipeline.gallery.other_vectors import OtherVector, pending_faces, write_other_vectors
from pipeline.media.base import MediaStore
from pipeline.pack_change.embed_again import embed_again, read_faces
from pipeline.types import VectorModel

BUSY_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class GenerationFill:
    """Fills in the vectors of ``model``, which the pack of ``resources`` makes. Several runs may
    fill one gallery: a page that another one was quicker with is written once more, the same."""

    engine: Engine
    keys: KeySource
    media: MediaStore
    resources: AnalysisResources
    model: VectorModel

    def fill(self, tenant_id: int, filled: Callable[[int], None] = lambda _: None) -> int:
        """Embed the faces that have no vector of the model yet, until there are none; how many
        were written. ``filled`` is told of each page. Raises what ``embed_again`` raises, and
        ``DatabaseUnavailable``, ``DecryptionFailed``, ``TenantNotFound``."""
        done = 0
        # From label to label: a page that is looked for from the beginning reads all that is
        # filled. New faces have higher labels; what was left behind is found by another round.
        while page := pending_faces(self.engine, tenant_id, self.model.sha256):
            while page:
                stored = list(read_faces(self.engine, self.keys, tenant_id, list(page)))
                written = self._write(tenant_id, [
                    OtherVector(each.face.id, each.face.label, each.vector, each.missing)
                    for each in embed_again(stored, self.media, self.resources)
                ])
                filled(written)
                done += written
                after = max(page.values())
                page = pending_faces(self.engine, tenant_id, self.model.sha256, after)
        return done

    def _write(self, tenant_id: int, found: Sequence[OtherVector]) -> int:
        while True:
            key = self.keys.data_key(tenant_id)
            try:
                return write_other_vectors(self.engine, tenant_id, self.model, found, key)
            except GalleryBusy:  # the gallery's own work goes first
                time.sleep(BUSY_PAUSE_S)
