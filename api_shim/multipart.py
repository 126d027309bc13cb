"""Reads ``multipart/form-data`` (RFC 7578) from a complete body, in bounded work.

Pure functions over bytes; they raise ``pipeline.errors``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from pipeline.errors import InvalidParameter, NotUtf8

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MULTIPART = "multipart/form-data"

# Parts of one form; the largest of the documents (a's /api/similarity) has 52.
MAX_PARTS = 100

# Header lines of a part, and bytes of one line. Libraries send up to four lines; the
# longest holds the file name.
MAX_PART_HEADERS = 8
MAX_HEADER_LINE = 4096

# Semicolons of a Content-Disposition, some of them in a file's name: the parser takes some
# lines of Python for each.
MAX_OPTIONS = 32

MAX_NAME = 128  # bytes of a part's name

# Bytes before the first delimiter; RFC 2046 requires that they are ignored.
MAX_PREAMBLE = 1024

# The characters and the length that RFC 2046 allows in a boundary; a body begins with it.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_FIRST_LINE = re.compile(rb"--([^\r\n]{1,70})\r\n")

# How older libraries send a file name that is not ASCII (RFC 2231): instead of a plain one,
# or beside it.
_EXTENDED_NAME = re.compile(rb";\s*filename\*", re.IGNORECASE)

# curl, and so PHP, names parts attachments when the caller sets another Content-Type.
_DISPOSITIONS = frozenset({b"form-data", b"attachment"})

_PLAIN_ENCODINGS = frozenset({b"", b"7bit", b"8bit", b"binary"})

# The parser logs every malformed form. These are errors of clients, so they go nowhere.
_silent = logging.getLogger(f"{__name__}.parser")
_silent.disabled = True


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form. ``filename`` is what the sender calls it; bytes that are not UTF-8 are
    replaced."""

    name: str
    filename: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form by name; a name is in one of the two. ``uploads`` are all of its files
    in their order, several of one name among them where that is taken."""

    fields: dict[str, str] = field(repr=False)
    files: dict[str, bytes] = field(repr=False)
    uploads: tuple[Upload, ...] = field(default=(), repr=False, compare=False)


def read_multipart(
    body: bytes, content_type: str, takes: Callable[[str], bool] = lambda _: True,
    always_files: Collection[str] = (), *, several: bool = False,
) -> Form:
    """The parts of ``body`` whose name ``takes`` accepts. The boundary is that of
    ``content_type``, the header; else the one with which the body begins.

    A part with a file name is a file, as is a part whose name is in ``always_files``. With
    ``several``, files may share a name, as those of one field of a browser do; ``Form.files``
    then has the first. A file input that was left empty (no name, no bytes) is dropped. Text
    before the first and after the last delimiter is ignored. The size of parts is limited by the
    body alone.

    Raises ``NotUtf8`` for a name or a field in another encoding, and ``InvalidParameter`` for
    everything else: no boundary, a truncated body, too many parts, a repeated name, a transfer
    encoding such as Base64.
    """
    delimiter = b"\r\n--" + _boundary(body, content_type)
    start = _start(body, delimiter)
    _check_delimiters(body, delimiter, start)
    collector = _Collector(takes, always_files, several=several)
    parser = MultipartParser(
        delimiter[4:],
        collector.callbacks(),
        max_header_count=MAX_PART_HEADERS,
        max_header_size=MAX_HEADER_LINE,
    )
    parser.logger = _silent
    try:
        parser.write(body[start:] if start else body)
    except FormParserError as error:
        raise InvalidParameter("the form is malformed") from error
    return collector.form()


def _boundary(body: bytes, content_type: str) -> bytes:
    if not content_type.isascii() or len(content_type) > MAX_HEADER_LINE:
        raise InvalidParameter("the Content-Type is malformed")
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if boundary is None and (line := _FIRST_LINE.match(body)):
        boundary = line[1]
    if boundary is None or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidParameter("the form has no boundary")
    return boundary


def _start(body: bytes, delimiter: bytes) -> int:
    """The position of the first delimiter, without its line break."""
    if body.startswith(delimiter[2:]):
        return 0
    found = body.find(delimiter, 0, MAX_PREAMBLE + len(delimiter))
    if found < 0:
        raise InvalidParameter("the form does not begin with its boundary")
    return found + 2


def _check_delimiters(body: bytes, delimiter: bytes, start: int) -> None:
    """Rejects forms that would keep the parser busy: it examines each byte of a delimiter
    and of the blanks after it in Python, while this search runs in C."""
    end = start + len(delimiter) - 2
    for _ in range(MAX_PARTS + 1):
        behind = body[end : end + 2]
        if behind == b"--":
            return
        if behind != b"\r\n":
            raise InvalidParameter("the form's boundary stands inside a line")
        # The line break may belong to the next delimiter, when a part is empty.
        found = body.find(delimiter, end)
        if found < 0:
            raise InvalidParameter("the form is truncated")
        end = found + len(delimiter)
    raise InvalidParameter(f"the form has more than {MAX_PARTS} parts")


class _Collector:
    """Receives the parser's callbacks. The parser gets the body in one piece and so reports
    each value in one piece, which is copied once."""

    def __init__(
        self, takes: Callable[[str], bool], always_files: Collection[str], *, several: bool
    ) -> None:
        self._takes = takes
        self._always_files = always_files
        self._several = several
        self._fields: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._uploads: list[Upload] = []
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._data = memoryview(b"")
        self._complete = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._name_header,
            "on_header_value": self._take_header,
            "on_part_data": self._take_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def form(self) -> Form:
        """Raises ``InvalidParameter`` when the closing delimiter is missing."""
        if not self._complete:
            raise InvalidParameter("the form is truncated")
        return Form(self._fields, self._files, tuple(self._uploads))

    def _begin(self) -> None:
        self._headers, self._data = {}, memoryview(b"")

    def _name_header(self, data: bytes, start: int, end: int) -> None:
        self._header = data[start:end].lower()
        if self._header in self._headers:
            raise InvalidParameter("a part of the form has a header twice")
        self._headers[self._header] = b""

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._headers[self._header] = data[start:end].strip()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self._data = memoryview(data)[start:end]

    def _finish(self) -> None:
        self._complete = True

    def _end(self) -> None:
        name, filename = self._read_name()
        is_file = filename is not None or name in self._always_files
        text = "" if is_file else _text(bytes(self._data))
        if not self._takes(name):
            return
        self._check_headers()
        if name in self._fields or (name in self._files and not (is_file and self._several)):
            raise InvalidParameter("the form has a name twice")
        if not is_file:
            self._fields[name] = text
        elif filename or self._data:
            data = bytes(self._data)
            self._files.setdefault(name, data)
            self._uploads.append(Upload(name, (filename or b"").decode(errors="replace"), data))

    def _check_headers(self) -> None:
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            raise InvalidParameter("a part of the form has a transfer encoding")
        if self._headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
            raise InvalidParameter("a part of the form is a form itself")

    def _read_name(self) -> tuple[str, bytes | None]:
        """The part's name, and its file name if it is a file."""
        header = self._headers.get(b"content-disposition", b"")
        if header.count(b";") > MAX_OPTIONS:
            raise InvalidParameter("a part of the form has a long header")
        kind, options = parse_options_header(header)
        name = options.get(b"name", b"")
        if kind not in _DISPOSITIONS or not 0 < len(name) <= MAX_NAME:
            raise InvalidParameter("a part of the form has no name, or a long one")
        extended = b"*" if _EXTENDED_NAME.search(header) else None
        return _text(name), options.get(b"filename", extended)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8 from error
