"""The deployment's Ed25519 key pair, and documents signed with it.

A signed document is a JSON object with the members ``key`` (the public key) and ``signature``,
both Base64. The signature covers the object without ``signature``, as JSON with sorted keys
and without spaces, in UTF-8 (RFC 8785 for these values: no fractions): any Ed25519 library
verifies it. The private key is kept in the database, encrypted under the master key.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import change_rows, read_row
from pipeline.database.schema import signing_keys
from pipeline.encryption.rewrap import SIGNING_KEY_OWNER
from pipeline.encryption.vault import Vault
from pipeline.errors import ConfigurationError, InvalidParameter, SignatureInvalid

KEY_ID = 1  # of the only row

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key pair. ``encrypted`` is the private half as it is stored."""

    private: Ed25519PrivateKey
    encrypted: bytes

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def sign(self, document: Document) -> Document:
        """``document`` with this public key and a signature."""
        signed = {**document, "key": base64.b64encode(self.public_key).decode()}
        signature = self.private.sign(signed_bytes(signed))
        return {**signed, "signature": base64.b64encode(signature).decode()}


def signing_key(engine: Engine, vault: Vault) -> SigningKey:
    """The deployment's key pair, made at its first use. Raises ``DatabaseUnavailable``, and
    ``ConfigurationError`` when no known master key decrypts it."""
    while True:
        row = read_row(
            engine, select(signing_keys.c.encrypted).where(signing_keys.c.id == KEY_ID)
        )
        if row is not None:
            return unwrap_key(bytes(row.encrypted), vault)
        fresh = Ed25519PrivateKey.generate()
        values = {
            "id": KEY_ID, "public_key": fresh.public_key().public_bytes_raw(),
            "encrypted": vault.encrypt(fresh.private_bytes_raw(), SIGNING_KEY_OWNER),
            "created_at": time.time(),
        }
        try:
            change_rows(engine, insert(signing_keys).values(**values), durable=True)
        except IntegrityError:
            continue  # another process was first


def unwrap_key(encrypted: bytes, vault: Vault) -> SigningKey:
    """The key pair of a stored private key. Raises ``ConfigurationError``."""
    private = Ed25519PrivateKey.from_private_bytes(vault.decrypt(encrypted, SIGNING_KEY_OWNER))
    return SigningKey(private, encrypted)


def signed_bytes(document: Document) -> bytes:
    """What the signature of a document covers."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    return msgspec.json.encode(unsigned, order="sorted")


def verify_document(document: Document, public_key: bytes | None = None) -> None:
    """Check a document against ``public_key`` (32 bytes), or only against the key that it
    names: that proves it unchanged, not where it comes from. Raises ``SignatureInvalid``."""
    try:
        named = base64.b64decode(document["key"], validate=True)
        signature = base64.b64decode(document["signature"], validate=True)
        if public_key is not None and named != public_key:
            raise SignatureInvalid("It is signed with another key.")
        Ed25519PublicKey.from_public_bytes(named).verify(signature, signed_bytes(document))
    except InvalidSignature as error:
        raise SignatureInvalid("It was changed after it was signed.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise SignatureInvalid("It has no readable signature.") from error


def public_key_pem(public_key: bytes) -> str:
    """A public key (32 bytes) as PEM."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_key(text: str) -> bytes:
    """The 32 bytes of a public key in PEM or Base64. Raises ``InvalidParameter``."""
    try:
        if "BEGIN" not in text:
            return Ed25519PublicKey.from_public_bytes(
                base64.b64decode(text.strip(), validate=True)
            ).public_bytes_raw()
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise InvalidParameter("that is no public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidParameter("that is no Ed25519 public key")
    return key.public_bytes_raw()


def parse_document(data: bytes) -> Document:
    """The JSON object in a file. Raises ``SignatureInvalid``."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignatureInvalid("It is not JSON.") from error
    if not isinstance(found, dict):
        raise SignatureInvalid("It is no JSON object.")
    return found


def require_master_key(vault: Vault, key_ids: list[str]) -> None:
    """Raises ``ConfigurationError`` when none of the master keys ``key_ids`` is known."""
    if not set(key_ids).intersection(vault.key_ids()):
        raise ConfigurationError(
            f"this needs the master key {', '.join(key_ids)}, and the configured one is "
            f"{vault.key_ids()[0]}: set FACELINE_MASTER_KEY or FACELINE_MASTER_KEY_FILE to it"
        )
