"""A hostile folder, tar and zip, and the expected outcome of each of their items.

Each maker returns the items that have to be reported: (name in the source, outcome),
where the outcome is ``enrolled``, ``duplicate`` or why it is rejected. ``faces`` are
pictures with a face, two at least; ``tiny`` members of a few bytes each are between them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.unit.bombs import REFUSED
from tests.unit.sources.makers import member, patched, picture, tar, zipped

Expected = list[tuple[str, str]]
Maker = Callable[[Path, Sequence[bytes], int], Expected]

TEXTS = 10  # of so many tiny members all but one are no pictures
TINY_PICTURES = 50  # different ones among the others

# Of capabilities(7): with them root reads files without read permission.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_modes() -> None:
    """For ``preexec_fn``: makes file modes bind the program that follows, even as root."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def hostile_folder(path: Path, faces: Sequence[bytes], tiny: int) -> Expected:
    """Everything that turns up in folders, unreadable files included."""
    files = {
        "ada/1.jpg": (faces[0], "enrolled"), "zoe/=cmd().jpg": (faces[1], "enrolled"),
        "zoe/again.jpg": (faces[1], "duplicate"), "cut.jpg": (faces[0][:500], "picture_corrupt"),
        "late.jpg": (_late(faces[0]), "picture_corrupt"),
        "empty.jpg": (b"", "empty"), "text.jpg": (b"no picture", "not_a_picture"),
        "inner.zip": (b"PK\x03\x04" + bytes(30), "nested_archive"),
        "bomb.png": (_bomb(), "picture_out_of_range"), "plain.png": (picture(1), "no_face"),
    }
    expected = []
    for name, (data, outcome) in files.items():
        _put(path / name, data)
        expected.append((name, outcome))
    with (path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it would take a terabyte to read
    deep = path.joinpath(*["d"] * 34)
    deep.mkdir(parents=True)
    _put(path / os.fsdecode(b"odd \xff\xfe\x1b[2J\n.txt"), b"odd")
    (path / "link.jpg").symlink_to(path / "ada" / "1.jpg")
    (path / "up").symlink_to("..")
    os.mkfifo(path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path / "socket.jpg"))
    _put(path / "secret.jpg", faces[0] + b"\0").chmod(0)
    _put(path / "closed" / "1.jpg", faces[0]).parent.chmod(0)
    for number in range(tiny):
        _put(path / "tiny" / f"{number:06d}", _tiny(number))
    return [
        *expected, *_tiny_expected("tiny/{:06d}", tiny), ("huge.jpg", "media_too_large"),
        ("/".join(["d"] * 33), "too_deep"), (r"odd \xff\xfe\x1b[2J\x0a.txt", "not_a_picture"),
        ("link.jpg", "link"), ("up", "link"), ("pipe.jpg", "not_a_file"),
        ("socket.jpg", "not_a_file"), ("secret.jpg", "unreadable"), ("closed", "unreadable"),
    ]


def hostile_tar(path: Path, faces: Sequence[bytes], tiny: int) -> Expected:
    """A tar.gz with paths to the outside, wrong headers and repeated names, and truncated."""
    members = [
        (member("../up.jpg", faces[0]), "unsafe_name"),
        (member("/abs.jpg", faces[0]), "unsafe_name"),
        (member("a/../../b.jpg", faces[0]), "unsafe_name"),
        (member("ada/1.jpg", faces[0]), "enrolled"),
        (member("soft.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
        (member("hard.jpg", type=tarfile.LNKTYPE, linkname="ada/1.jpg"), "link"),
        (member("null.jpg", type=tarfile.CHRTYPE), "not_a_file"),
        (member("pipe.jpg", type=tarfile.FIFOTYPE), "not_a_file"),
        (member("ada/1.jpg", faces[1]), "duplicate_name"),
        (member("inner.tgz", b"\x1f\x8b" + bytes(40)), "nested_archive"),
        (member("empty.jpg"), "empty"), (member("text.jpg", b"no picture"), "not_a_picture"),
        (member("large.jpg", bytes(13 << 20)), "media_too_large"),
        (member("zoe/1.jpg", faces[1]), "enrolled"),
        (member("zoe/2.jpg", faces[1]), "duplicate"),
        (member("odd \udcff\udcfe.jpg", b"odd"), "not_a_picture"),
        (member("bomb.png", _bomb()), "picture_out_of_range"),
    ]

    def every() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        yield from (one for one, _ in members[:8])
        yield from (member(f"tiny/{n:06d}", _tiny(n)) for n in range(tiny))
        yield from (one for one, _ in members[8:])
        yield member("lost.jpg", os.urandom(1 << 16))

    # GNU's form keeps names in no encoding as they are.
    tar(path, every(), "gz", tarfile.GNU_FORMAT)
    os.truncate(path, path.stat().st_size - (1 << 15))
    expected = [(_shown(info.name), outcome) for (info, _), outcome in members]
    return [
        *expected, *_tiny_expected("tiny/{:06d}", tiny),
        ("lost.jpg", "archive_damaged"), (path.name, "archive_damaged"),
    ]


def hostile_zip(path: Path, faces: Sequence[bytes], tiny: int) -> Expected:
    """A zip with links, bombs, members under a password and names that come twice."""
    soft = zipfile.ZipInfo("soft.jpg")
    soft.create_system, soft.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    members: list[tuple[str | zipfile.ZipInfo, bytes, str]] = [
        ("../up.jpg", faces[0], "unsafe_name"), ("/abs.jpg", faces[0], "unsafe_name"),
        ("C:/b.jpg", faces[0], "unsafe_name"), (soft, b"/etc/passwd", "link"),
        ("ada/1.jpg", faces[0], "enrolled"), ("ada/1.jpg", faces[1], "duplicate_name"),
        ("zoe/1.jpg", faces[1], "enrolled"), ("zoe/2.jpg", faces[1], "duplicate"),
        ("locked.jpg", faces[0], "encrypted"), ("wrong.jpg", faces[0], "archive_damaged"),
        ("bomb.jpg", bytes(8 << 20), "bomb"), ("bomb.png", _bomb(), "picture_out_of_range"),
        ("inner.zip", b"PK\x03\x04" + bytes(40), "nested_archive"), ("empty.jpg", b"", "empty"),
        ("nn.jpg", b"odd", "not_a_picture"), ("plain.png", picture(1), "no_face"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        zipped(path, [
            *((name, data) for name, data, _ in members),
            *((f"tiny/{n:06d}", _tiny(n)) for n in range(tiny)),
        ])
    patched(path, b"locked.jpg", 6, b"\x01\x00")
    patched(path, b"wrong.jpg", 14, b"\0\0\0\0")
    raw = "李".encode("gb18030")
    path.write_bytes(path.read_bytes().replace(b"nn.jpg", raw + b".jpg"))
    expected = [
        (name if isinstance(name, str) else name.filename, outcome) for name, _, outcome in members
    ]
    expected[14] = (r"\xc0\xee.jpg", "not_a_picture")
    return [*expected, *_tiny_expected("tiny/{:06d}", tiny)]


MAKERS: dict[str, Maker] = {
    "folder": hostile_folder, "hostile.tgz": hostile_tar, "hostile.zip": hostile_zip,
}


def outcome(line: Mapping[str, object]) -> str:
    """A line of a batch's report, in the form in which makers give the expected one."""
    return str(line["reason"] if line["outcome"] == "rejected" else line["outcome"])


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _late(face: bytes) -> bytes:
    """A JPEG whose header is right and whose pixels end half way."""
    return face[: len(face) // 2]


def _bomb() -> bytes:
    """A picture that announces more pixels than are allowed."""
    return REFUSED["png of 400 megapixels"]()


def _tiny(number: int) -> bytes:
    return b"%d" % number if number % TEXTS else picture(2 + number // TEXTS % TINY_PICTURES)


def _tiny_expected(name: str, count: int) -> Expected:
    return [
        (name.format(number), "not_a_picture" if number % TEXTS else
         "no_face" if number // TEXTS < TINY_PICTURES else "duplicate")
        for number in range(count)
    ]


def _shown(name: str) -> str:
    return "".join(
        f"\\x{ord(one) - 0xDC00:02x}" if ord(one) > 0xD800 else one for one in name
    )
