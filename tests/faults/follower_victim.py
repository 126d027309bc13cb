"""A process that feeds a vector engine until it is killed.

    python -m tests.faults.follower_victim DATABASE_URL ENGINE_URL MEDIA_DIR TENANT
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from pipeline.database.engine import open_engine
from pipeline.errors import IndexBehind
from pipeline.media.directory import DirectoryStore
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from tests.vector_engines import SmallIndex

EVERY_S = 0.05


def main(database: str, url: str, media: str, tenant: str) -> None:
    engine = open_engine(database, durable=False)
    gallery = TenantGallery(engine, int(tenant), DirectoryStore(Path(media)), Clock())
    index = SmallIndex.open(gallery, url)
    while True:
        with suppress(IndexBehind):  # the engine is away
            index.follow()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
