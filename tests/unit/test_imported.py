"""Which foreign secrets are strong enough to be taken over."""

from __future__ import annotations

import pytest

from pipeline.accounts.imported import ImportedCredential, check_imported, weakness
from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING, CredentialKind
from pipeline.errors import InvalidParameter

STRONG = "9f4e2b7ac1d8036eb5f2a94c7d10e68b"


@pytest.mark.parametrize("kind", [API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING])
def test_what_the_service_issues_is_strong(kind: CredentialKind) -> None:
    for _ in range(200):
        assert weakness(kind.new_secret()) is None


@pytest.mark.parametrize(
    "secret",
    [STRONG, "k3J9-xQ2m_Zr7", "sk_live_9aKx72mQpR4tVb8Z", "81940327561029384756",
     "0f6c1b5e-8d2a-4c39-9b77-41d0a2e6f583", "Passw0rd!but-then-9xK2_longer-rest"],
)
def test_strong(secret: str) -> None:
    assert weakness(secret) is None


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "printable"), ("with blank 9f4e2b7ac1d8036e", "printable"), ("ключ" * 9, "printable"),
        ("x" * 600, "printable"),
        ("9f4e2b7a", "needs 16, and has 8"), ("1234567890123456", "needs 20, and has 16"),
        ("a1b2c3d4e5", "too short"),
        ("aaaabbbbccccddddaabbccdd", "4 different"),
        # The document's own example.
        ("D91CEB11EE62219CD91CEB11EE62219C", "repeats itself"),
        ("abcdefghijklmnopqrstuvwxyz", "in order"),
        ("changeme-password-test", "without the word"),
        ("A1B2C3D4E5F6A7B8x9", "its own id"),
    ],
)
def test_weak(secret: str, reason: str) -> None:
    assert reason in (weakness(secret, "a1b2c3d4e5f6a7b8") or "")


@pytest.mark.parametrize("number", ["", "0", "007", "-5", "1" * 19, "12a", "+7"])
def test_an_apid_is_a_number(number: str) -> None:
    with pytest.raises(InvalidParameter, match="Apid"):
        check_imported(ImportedCredential(NUMBER_AND_KEY, number, STRONG), "Apid", "Kvalue")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a;b", "é"])
def test_an_id_has_letters_and_digits(name: str) -> None:
    with pytest.raises(InvalidParameter, match="appId"):
        check_imported(ImportedCredential(SIGNING, name, STRONG), "appId", "appSecret")


def test_the_reason_names_the_secret_and_never_shows_it() -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_imported(ImportedCredential(SIGNING, "app", "hunter2"), "appId", "appSecret")
    assert "appSecret is not taken over: it is too short" in refused.value.message
    assert "hunter2" not in refused.value.message
