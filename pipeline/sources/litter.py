"""Files that NAS, operating systems and programs leave beside pictures: thumbnails, recycle
bins, indexes, sidecars. Their folders are no people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pipeline.sources.base import Item, PictureSource, RefusalReason, RefusedItem
from pipeline.sources.names import printable

# Each must match a whole name, in any case.
FOLDERS: Final = (
    r"\.(?!\.?$).*",  # hidden: .thumbnails, .Trash-1000, .@__thumb, .AppleDouble, .git
    "__MACOSX", "Network Trash Folder", "Temporary Items",
    r"@eaDir|@tmp|@sharebin|#recycle|#snapshot",  # Synology
    "@Recycle|@Recently-Snapshot|@__thumb",  # QNAP
    "~snapshot|trashbox",  # NetApp, Buffalo
    r"\$RECYCLE\.BIN|RECYCLE[RD]|System Volume Information|FOUND\.[0-9]{3}",  # Windows
    r"lost\+found", r".*\.lrdata",  # Unix; previews of Lightroom
)
FILES: Final = (
    r"\.(?!\.?$).*",  # hidden: ._1.jpg, .DS_Store, .nomedia
    r"(eh)?thumbs(_vista)?\.db(:.*)?|desktop\.ini|.+\.(lnk|url)|.+:Zone\.Identifier",  # Windows
    r"Icon\\x0d",  # macOS; the name ends in a carriage return
    "SYNO(PHOTO|INDEX|VIDEO)_.*|.*@SYNO(EAStream|Resource).*",
    r"Picasa\.ini|ZbThumbnail\.info|thumbdata.*",
    r".+\.(xmp|aae|pp3|dop|thm|lrv)",  # sidecars of editors, phones and cameras
    r".+\.(jpe?g|png|bmp|gif|tiff?|webp|hei[cf]|avif)\..*(json|xml|ya?ml)",  # 1.jpg.json
    r"~\$.*|.+~|.+\.(tmp|part|crdownload)",  # of programs that are writing
)

_FOLDER = re.compile("|".join(f"(?:{each})" for each in FOLDERS), re.IGNORECASE)
_FILE = re.compile("|".join(f"(?:{each})" for each in FILES), re.IGNORECASE)


def is_litter(path: str) -> bool:
    """Whether a path, with ``/`` between its parts, leads to such a file."""
    *folders, name = path.split("/")
    return _FILE.fullmatch(name) is not None or any(map(_FOLDER.fullmatch, folders))


class WithoutLitter:
    """A source whose litter comes as refused for ``SKIPPED``, unread. ``below``: the part of
    all names that the operator has given, up to a slash; it is not judged."""

    def __init__(self, source: PictureSource, below: str = "") -> None:
        self._source = source
        self._below = printable(below)

    @property
    def location(self) -> str:
        return self._source.location

    def position(self) -> tuple[int, int]:
        return self._source.position()

    def items(self) -> Iterator[Item | RefusedItem]:
        for item in self._source.items():
            path = item.source_name.removeprefix(self._below)
            if is_litter(path) and (isinstance(item, Item) or not item.ends_source):
                yield RefusedItem(item.source_name, RefusalReason.SKIPPED, "litter")
            else:
                yield item
