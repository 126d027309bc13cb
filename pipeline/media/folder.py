"""A media store whose objects lie in a folder of another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.media.base import MediaStore, StoredObject, WrappingStore, check_key

PUT_THREADS = 4  # at a time


class FolderStore(WrappingStore):
    """Objects of ``inner`` whose keys begin with ``folder``, without it."""

    def __init__(self, inner: MediaStore, folder: str) -> None:
        super().__init__(inner)
        self._folder = check_key(folder.strip("/")) + "/"

    def put(self, key: str, data: bytes) -> None:
        self._inner.put(self._folder + key, data)

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(PUT_THREADS) as pool:
            for _ in pool.map(lambda pair: self.put(*pair), pairs):
                pass

    def get(self, key: str) -> bytes:
        return self._inner.get(self._folder + key)

    def exists(self, key: str) -> bool:
        return self._inner.exists(self._folder + key)

    def delete(self, key: str) -> None:
        self._inner.delete(self._folder + key)

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        for found in self._inner.walk(self._folder + prefix):
            yield replace(found, key=found.key.removeprefix(self._folder))
