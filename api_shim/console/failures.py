"""What went wrong, and what to do about it, in the operator's language."""

from __future__ import annotations

from api_shim.admin.failure_words import WORDS, words_about
from api_shim.console.texts import ENGLISH, Texts


def why_text(texts: Texts, code: str, reason: str = "") -> str:
    """What is the case; an unknown code, of a newer worker, as it is."""
    return texts.gettext(words_about(code, reason).why) if code in WORDS else code


def message_text(texts: Texts, code: str, message: str) -> str:
    """An error's own ``message``, which is English; in other languages after what is the case."""
    why = words_about(code).why
    if texts.language == ENGLISH or code not in WORDS:
        return message
    return texts.gettext(why) if message in ("", why) else f"{texts.gettext(why)} ({message})"


def own_advice(texts: Texts, code: str, reason: str = "") -> str:
    """What to do about a file of one's own."""
    return texts.gettext(words_about(code, reason).own)


def explain(texts: Texts, code: str, reason: str, message: str) -> str:
    """Both in one line; an error's own ``message`` where its code is unknown."""
    if code not in WORDS:
        return message
    return texts.join(why_text(texts, code, reason), own_advice(texts, code, reason))
