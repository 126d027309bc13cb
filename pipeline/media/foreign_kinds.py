"""Names the kinds of files that are sent as pictures and are not taken, by their first bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.media.clips import clip_format
from pipeline.media.iso_boxes import brands

# Bytes that are looked at: a DICOM file says what it is behind 128 others.
_LOOKED_AT = 1024


@dataclass(frozen=True, slots=True)
class ForeignKind:
    """``name`` with its article; whether it is a picture; ``advice`` says what to send instead
    where that is not just another format."""

    name: str
    picture: bool = False
    advice: str | None = None


_RAW_ADVICE = "Send the JPEG that the camera or its program makes of it."
_CLIP_ADVICE = "Send one picture of it; of a live photo, its still picture."
_TEXT_ADVICE = "Send the bytes of the picture, encoded once."


def _picture(name: str) -> ForeignKind:
    return ForeignKind(name, picture=True)


def _raw(maker: str) -> ForeignKind:
    return ForeignKind(f"a camera's raw file ({maker})", picture=True, advice=_RAW_ADVICE)


_CLIP = ForeignKind("a clip", advice=_CLIP_ADVICE)
_EMPTY = ForeignKind("an empty file")
_ZEROS = ForeignKind("a file of zero bytes, which was never written")

_STARTS: tuple[tuple[bytes, ForeignKind], ...] = (
    (b"\xff\x0a", _picture("a JPEG XL picture")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _picture("a JPEG XL picture")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _picture("a JPEG 2000 picture")),
    (b"\xff\x4f\xff\x51", _picture("a JPEG 2000 picture")),
    (b"\xff\xf7", _picture("a JPEG-LS picture")),
    (b"II\xbc", _picture("a JPEG XR picture")),
    (b"II+\0", _picture("a BigTIFF picture")),
    (b"MM\0+", _picture("a BigTIFF picture")),
    (b"\0\0\1\0", _picture("an icon (ICO)")),
    (b"\0\0\2\0", _picture("a cursor (CUR)")),
    (b"8BPS", _picture("a Photoshop file (PSD)")),
    (b"gimp xcf", _picture("a GIMP file (XCF)")),
    (b"\x76\x2f\x31\x01", _picture("an OpenEXR picture")),
    (b"#?RADIANCE", _picture("a Radiance HDR picture")),
    (b"#?RGBE", _picture("a Radiance HDR picture")),
    (b"qoif", _picture("a QOI picture")),
    (b"DDS ", _picture("a DDS texture")),
    (b"\x59\xa6\x6a\x95", _picture("a Sun raster picture")),
    (b"FLIF", _picture("a FLIF picture")),
    (b"BPG\xfb", _picture("a BPG picture")),
    (b"FUJIFILMCCD-RAW", _raw("Fujifilm RAF")),
    (b"IIU\0", _raw("Panasonic RW2")),
    (b"IIRO", _raw("Olympus ORF")),
    (b"IIRS", _raw("Olympus ORF")),
    (b"MMOR", _raw("Olympus ORF")),
    (b"FOVb", _raw("Sigma X3F")),
    (b"\0MRM", _raw("Minolta MRW")),
    (b"%PDF", ForeignKind("a PDF document")),
    (b"%!PS", ForeignKind("a PostScript file")),
    (b"PK\3\4", ForeignKind("a ZIP archive or an office document")),
    (b"\x1f\x8b", ForeignKind("a file packed by gzip")),
    (b"BZh", ForeignKind("a file packed by bzip2")),
    (b"\xfd7zXZ", ForeignKind("a file packed by xz")),
    (b"\x28\xb5\x2f\xfd", ForeignKind("a file packed by Zstandard")),
    (b"7z\xbc\xaf", ForeignKind("a 7z archive")),
    (b"Rar!", ForeignKind("a RAR archive")),
    (b"\xd0\xcf\x11\xe0", ForeignKind("an office document")),
    (b"{\\rtf", ForeignKind("an RTF document")),
    (b"ID3", ForeignKind("a sound file (MP3)")),
    (b"OggS", ForeignKind("a sound file or a clip (Ogg)")),
    (b"fLaC", ForeignKind("a sound file (FLAC)")),
    (b"FLV\1", _CLIP),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _CLIP),  # WMV
    (b"\0\0\1\xba", _CLIP),  # MPEG
    (b"\0\0\1\xb3", _CLIP),
    (b"bplist00", ForeignKind("a property list")),
    (b"\x7fELF", ForeignKind("a program")),
    (b"MZ", ForeignKind("a program")),
)

# Brands of the ISO family that are pictures of coders that are not taken.
_BRANDS: dict[bytes, ForeignKind] = {
    b"crx ": _raw("Canon CR3"),
    b"vvic": _picture("a VVC picture"),
    b"evbi": _picture("an EVC picture"),
    b"j2ki": _picture("a HEIF picture in JPEG 2000"),
    b"jpeg": _picture("a HEIF picture in JPEG"),
    b"avci": _picture("a HEIF picture in H.264"),
    b"unif": _picture("an uncompressed HEIF picture"),
    b"M4A ": ForeignKind("a sound file (M4A)"),
    b"mif1": _picture("a HEIF picture of an unknown coder"),
    b"msf1": _picture("a HEIF sequence of an unknown coder"),
}

_NETPBM = re.compile(rb"P[1-7fF][\s#]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\s]{40,}={0,2}\s*")
_UNPRINTABLE = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")
_TEXTS: tuple[tuple[bytes, ForeignKind], ...] = (
    (rb"(<\?xml[^>]*>)?(\s|<!--.*?-->|<!doctype svg[^>]*>)*<svg\b", _picture("an SVG drawing")),
    (rb"<!doctype html|<html|<head|<body", ForeignKind("a web page (HTML)")),
    (rb"<", ForeignKind("an XML file")),
    (rb"data:[a-z/+.\-]*;base64,", ForeignKind("the text of a data URI", advice=_TEXT_ADVICE)),
    (rb"https?://", ForeignKind("the text of a URL", advice=_TEXT_ADVICE)),
    (rb"[{\[]", ForeignKind("a JSON text", advice=_TEXT_ADVICE)),
)


def foreign_kind(data: bytes) -> ForeignKind | None:
    """The kind of a file that is not a picture in any format taken; None for an unknown one."""
    head = data[:_LOOKED_AT]
    if not any(head):
        return _ZEROS if head else _EMPTY
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    for brand in brands(head):
        if brand in _BRANDS:
            return _BRANDS[brand]
    if clip_format(data) is not None or _is_stream(head):
        return _CLIP
    if head[128:132] == b"DICM":
        return _picture("a DICOM picture")
    if head[:4] == b"RIFF":
        return ForeignKind("a sound file or another RIFF file")
    return _picture("a Netpbm picture") if _NETPBM.match(head) else _text_kind(head)


def _is_stream(head: bytes) -> bool:
    """Whether it is an MPEG transport stream, of packets of 188 bytes."""
    return head[:1] == head[188:189] == head[376:377] == b"G"


def _text_kind(head: bytes) -> ForeignKind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").strip()
    for form, kind in _TEXTS:
        if re.match(form, text, re.IGNORECASE | re.DOTALL):
            return kind
    if _UNPRINTABLE.search(text):
        return None
    if _BASE64.fullmatch(text):
        return ForeignKind("a text in Base64, encoded twice", advice=_TEXT_ADVICE)
    return ForeignKind("a text", advice=_TEXT_ADVICE)
