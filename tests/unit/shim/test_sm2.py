"""SM2 against its standard's example, OpenSSL and gmssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gmssl import sm2 as gmssl

from api_shim.auth import sm2
from pipeline.errors import InvalidParameter
from tests.conftest import missing

MESSAGE = b"appId=A&data={}&timestamp=1591943910&key=S"

# GB/T 32918.5 annex A.2: the standard's own key, message and signature.
STANDARD_KEY = (
    "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
STANDARD_SIGNATURE = (
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)

# An EC public key's DER before the point: id-ecPublicKey, curve sm2, an uncompressed point.
SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")


def openssl(*arguments: str | Path) -> str:
    """The output of the openssl command; skips where it has no SM2."""
    try:
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    except FileNotFoundError:
        missing("no openssl command")
    if "sm2" in done.stderr.lower() and "unknown" in done.stderr.lower():
        missing("this openssl has no SM2")
    return done.stdout + done.stderr


def test_the_example_of_the_standard_verifies() -> None:
    signature = bytes.fromhex(STANDARD_SIGNATURE)
    assert sm2.verify(STANDARD_KEY, b"message digest", signature)
    assert not sm2.verify(STANDARD_KEY, b"message digesu", signature)


def test_what_is_signed_verifies_and_nothing_else() -> None:
    private_key, public_key = sm2.generate_key_pair()
    _, other_key = sm2.generate_key_pair()
    signature = sm2.sign(private_key, MESSAGE)
    assert sm2.verify(public_key, MESSAGE, signature)
    assert sm2.verify("04" + public_key.upper(), MESSAGE, signature)
    assert not sm2.verify(other_key, MESSAGE, signature)
    for bit in range(0, 512, 37):
        wrong = (int.from_bytes(signature) ^ (1 << bit)).to_bytes(64)
        assert not sm2.verify(public_key, MESSAGE, wrong)


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 1), (1, 0), (sm2.N, 1), (1, sm2.N), (1, sm2.N - 1), (2**256 - 1, 1),
        (1, 2**256 - 1),
    ],
)
def test_numbers_out_of_range_are_refused(r: int, s: int) -> None:
    assert not sm2.verify(STANDARD_KEY, MESSAGE, r.to_bytes(32) + s.to_bytes(32))


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_other_lengths_are_refused(length: int) -> None:
    assert not sm2.verify(STANDARD_KEY, MESSAGE, b"\1" * length)


@pytest.mark.parametrize(
    "key",
    ["", "04", "zz" * 64, "0" * 128, "1" * 128, STANDARD_KEY[:-1] + "4", "03" + STANDARD_KEY,
     f"{sm2.P:064x}" + "0" * 64],
)
def test_a_key_off_the_curve_is_refused(key: str) -> None:
    with pytest.raises(InvalidParameter):
        sm2.parse_public_key(key)


def test_openssl_verifies_our_signatures(tmp_path: Path) -> None:
    private_key, public_key = sm2.generate_key_pair()
    (tmp_path / "key.der").write_bytes(SPKI_HEAD + bytes.fromhex(public_key))
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "signature").write_bytes(der_of(sm2.sign(private_key, MESSAGE)))
    printed = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.der", "-keyform", "DER",
        "-rawin", "-digest", "sm3", "-in", tmp_path / "message",
        "-sigfile", tmp_path / "signature", "-pkeyopt", f"distid:{sm2.USER_ID.decode()}",
    )
    assert "Verified Successfully" in printed, printed


def test_we_verify_the_signatures_of_openssl(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-outform", "DER", "-out", tmp_path / "key.der")
    (tmp_path / "message").write_bytes(MESSAGE)
    printed = openssl(
        "pkeyutl", "-sign", "-inkey", key, "-rawin", "-digest", "sm3",
        "-in", tmp_path / "message", "-out", tmp_path / "signature",
        "-pkeyopt", f"distid:{sm2.USER_ID.decode()}",
    )
    assert (tmp_path / "signature").exists(), printed
    public_key = (tmp_path / "key.der").read_bytes()[-64:].hex()
    signature = raw_of((tmp_path / "signature").read_bytes())
    assert sm2.verify(public_key, MESSAGE, signature)
    assert not sm2.verify(public_key, MESSAGE + b"!", signature)


def test_gmssl_and_we_verify_each_other() -> None:
    private_key, public_key = sm2.generate_key_pair()
    while public_key.startswith("04"):  # gmssl takes this for the head of a point
        private_key, public_key = sm2.generate_key_pair()
    other = gmssl.CryptSM2(private_key=private_key, public_key=public_key)
    assert other.verify_with_sm3(sm2.sign(private_key, MESSAGE).hex(), MESSAGE)
    theirs = bytes.fromhex(other.sign_with_sm3(MESSAGE))
    assert sm2.verify(public_key, MESSAGE, theirs)
    assert not sm2.verify(public_key, MESSAGE[1:], theirs)


def der_of(signature: bytes) -> bytes:
    """r || s as the SEQUENCE of two INTEGERs that openssl takes."""
    body = b""
    for number in (int.from_bytes(signature[:32]), int.from_bytes(signature[32:])):
        raw = number.to_bytes(number.bit_length() // 8 + 1)
        body += b"\x02" + bytes([len(raw)]) + raw
    return b"\x30" + bytes([len(body)]) + body


def raw_of(der: bytes) -> bytes:
    first = der[3]
    r, s = der[4 : 4 + first], der[6 + first :]
    return int.from_bytes(r).to_bytes(32) + int.from_bytes(s).to_bytes(32)
