"""The console's languages: English in the templates, translations in ``locale/``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.resources import files

from babel import Locale, negotiate_locale
from babel.dates import format_timedelta
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh": "中文"}
"""Their own names by their codes."""

KIB = 1024


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts, numbers and times in one language."""

    language: str
    catalog: Mapping[str, str] = field(repr=False, default_factory=dict)

    def gettext(self, english: str) -> str:
        return self.catalog.get(english, english)

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        return self.gettext(singular if count == 1 else plural)

    def join(self, *sentences: str) -> str:
        """Sentences in one line, with the space that the language has between them."""
        return ("" if self.language == "zh" else " ").join(sentences)

    def number(self, value: float) -> str:
        return format_decimal(value, locale=self.language)

    def percent(self, share: float, digits: int = 1) -> str:
        return format_percent(share, f"0.{'0' * digits}%" if digits else "0%", self.language)

    def seconds(self, seconds: float) -> str:
        """A span of time in its largest unit, such as ``3 hours``; below a second in ms."""
        if abs(seconds) < 1:
            return f"{seconds * 1000:.0f} ms"
        span = timedelta(seconds=seconds)
        return format_timedelta(span, threshold=1.2, locale=Locale.parse(self.language))

    def size(self, size: float) -> str:
        """Bytes in the unit that leaves a number of few digits."""
        units = ["B", "KB", "MB", "GB", "TB"]
        while size >= KIB and len(units) > 1:
            size /= KIB
            units.pop(0)
        return f"{self.number(round(size, 1 if units[0] != 'B' else 0))} {units[0]}"


@cache
def texts_of(language: str) -> Texts:
    """The texts of a language of ``LANGUAGES``."""
    found: dict[str, str] = {}
    folder = files("api_shim.console") / "locale" / language
    for area in folder.iterdir() if folder.is_dir() else ():
        if area.name.endswith(".po"):
            catalog = read_po(io.BytesIO(area.read_bytes()), locale=language)
            found |= {str(each.id): str(each.string) for each in catalog if each.id and each.string}
    return Texts(language, found)


def choose_language(chosen: str, accepted: str) -> str:
    """The language that the operator ``chosen``; else the first that the browser accepts."""
    if chosen in LANGUAGES:
        return chosen
    preferred = [each.partition(";")[0].strip() for each in accepted[:200].split(",")]
    return negotiate_locale([each for each in preferred if each], LANGUAGES, sep="-") or next(
        (each[:2] for each in preferred if each[:2] in LANGUAGES), ENGLISH
    )
