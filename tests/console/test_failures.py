"""What went wrong, in words: each code has its own, in each language."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from api_shim.admin.failure_words import ADVICE, OWN, QUALITY, WORDS, FailureWords, words_about
from api_shim.console.failures import explain, message_text, own_advice, why_text
from api_shim.console.texts import LANGUAGES, texts_of
from pipeline import errors
from pipeline.batches.model import NOT_IN_SOURCE, SAME_PICTURE
from pipeline.batches.reject import SAME_PERSON
from pipeline.errors import FaceError
from pipeline.sources.base import RefusalReason
from pipeline.types import QualityLimits

ERRORS = {
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, FaceError)
}
CODES = {each.code for each in ERRORS}
REFUSED = {str(each) for each in RefusalReason if each is not RefusalReason.SKIPPED}
OTHERS = [each for each in LANGUAGES if each != "en"]


def test_each_code_has_words_and_no_other() -> None:
    assert set(WORDS) == CODES | REFUSED | {SAME_PERSON, SAME_PICTURE, NOT_IN_SOURCE}
    assert len({kind.code for kind in ADVICE}) == len(ADVICE)
    assert set(OWN) <= set(ADVICE)


def test_each_limit_of_a_face_has_words_and_no_other() -> None:
    assert set(QUALITY) == {name.partition("_")[2] for name in get_type_hints(QualityLimits)}


@pytest.mark.parametrize("language", OTHERS)
def test_each_sentence_is_translated(language: str) -> None:
    said = {text for each in WORDS.values() for text in (each.why, each.advice, each.own)}
    said |= {text for each in QUALITY.values() for text in (each.why, each.measure, each.own)}
    assert said - texts_of(language).catalog.keys() == set()


@pytest.mark.parametrize("words", [pytest.param(words, id=code) for code, words in WORDS.items()])
def test_sentences_are_whole(words: FailureWords) -> None:
    for text in (words.why, words.advice, words.own):
        assert text.endswith("."), text
        assert text[0].isupper(), text
        assert "\n" not in text


def test_a_failed_limit_is_told_instead_of_all() -> None:
    english = texts_of("en")
    assert explain(english, "bad_quality", "blur", "") == (
        f"{QUALITY['blur'].why} {QUALITY['blur'].own}"
    )
    assert words_about("bad_quality", "unheard of") == WORDS["bad_quality"]
    assert words_about("no_face", "blur") == WORDS["no_face"]


def test_a_code_of_a_newer_worker() -> None:
    english = texts_of("en")
    assert why_text(english, "never_heard_of") == "never_heard_of"
    assert own_advice(english, "never_heard_of") == ADVICE[FaceError]
    assert explain(english, "never_heard_of", "", "As it said.") == "As it said."
    assert message_text(texts_of("zh"), "never_heard_of", "As it said.") == "As it said."


def test_a_message_follows_what_is_the_case_in_another_language() -> None:
    chinese, why = texts_of("zh"), WORDS["media_too_large"].why
    translated = chinese.gettext(why)
    assert message_text(texts_of("en"), "media_too_large", "11 MB.") == "11 MB."
    assert message_text(chinese, "media_too_large", "11 MB.") == f"{translated} (11 MB.)"
    assert message_text(chinese, "media_too_large", why) == translated
