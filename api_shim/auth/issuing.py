"""Issuing an application's credentials, and replacing them while clients change over."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from api_shim.auth import sm2
from pipeline.accounts.credential_set import KINDS, KINDS_BY_NAME, Credentials
from pipeline.accounts.credentials import CredentialStore
from pipeline.accounts.kinds import SIGNING, CredentialKind
from pipeline.accounts.model import IssuedCredential
from pipeline.errors import CredentialNotFound, InvalidParameter

IssueOne = Callable[[CredentialKind, str | None], IssuedCredential]

KEEP_H = 168.0
"""Hours for which former secrets work beside new ones unless somebody says otherwise: a week is
long enough to bring new secrets to every client."""


def issue(
    store: CredentialStore, tenant_id: int, kinds: Iterable[CredentialKind] = KINDS, *,
    make_sm2: bool = False, sm2_public_key: str | None = None,
) -> Credentials:
    """A new credential of each of ``kinds``; with ``make_sm2`` with a key pair, of which only the
    public key is stored. Raises ``InvalidParameter`` for a key that is none, or for both."""
    check_sm2(make_sm2, sm2_public_key)
    return _issue(
        kinds, make_sm2, sm2_public_key, lambda kind, key: store.issue(tenant_id, kind, key)
    )


def renew(
    store: CredentialStore, tenant_id: int, keep_s: float,
    kinds: Iterable[CredentialKind] = KINDS, *, make_sm2: bool = False,
    sm2_public_key: str | None = None,
) -> Credentials:
    """New secrets for the newest credential of each of ``kinds``, and a credential of each that the
    application does not have. Former secrets and older credentials of all kinds end in ``keep_s``
    seconds. Without an SM2 key the present one stays. Raises as ``issue``."""
    check_sm2(make_sm2, sm2_public_key)
    newest = dict(store.public_ids(tenant_id))
    if not make_sm2 and sm2_public_key is None:
        sm2_public_key = newest_sm2_key(store, tenant_id)
    for kind_name, public_id in newest.items():
        store.retire(tenant_id, kind_name, keep_s, keep=public_id)

    def renewed(kind: CredentialKind, public_key: str | None) -> IssuedCredential:
        if kind.name not in newest:
            return store.issue(tenant_id, kind, public_key)
        return store.rotate(tenant_id, kind, newest[kind.name], keep_s, public_key)

    return _issue(kinds, make_sm2, sm2_public_key, renewed)


def renew_one(
    store: CredentialStore, tenant_id: int, public_id: str, keep_s: float, *,
    make_sm2: bool = False, sm2_public_key: str | None = None,
) -> Credentials:
    """A new secret for one credential; its former one ends in ``keep_s`` seconds. Raises as
    ``issue``, and ``CredentialNotFound``."""
    check_sm2(make_sm2, sm2_public_key)
    kind_name = {name: kind for kind, name in store.public_ids(tenant_id)}.get(public_id)
    if kind_name is None:
        raise CredentialNotFound
    kind = KINDS_BY_NAME[kind_name]
    if kind is SIGNING and not make_sm2 and sm2_public_key is None:
        sm2_public_key = _sm2_key(store, public_id)
    return _issue(
        [kind], make_sm2, sm2_public_key,
        lambda kind, key: store.rotate(tenant_id, kind, public_id, keep_s, key),
    )


def end_former(store: CredentialStore, tenant_id: int) -> int:
    """End all secrets but the newest of each kind; returns how many."""
    newest = dict(store.public_ids(tenant_id))
    return sum(store.revoke(tenant_id, kind, keep=public) for kind, public in newest.items())


def newest_sm2_key(store: CredentialStore, tenant_id: int) -> str | None:
    """The public key that verifies signatures now."""
    app_id = dict(store.public_ids(tenant_id)).get(SIGNING.name)
    return None if app_id is None else _sm2_key(store, app_id)


def _sm2_key(store: CredentialStore, app_id: str) -> str | None:
    credential = store.signing(app_id)
    return None if credential is None else credential.secrets[0].sm2_public_key


def check_sm2(make_sm2: bool, sm2_public_key: str | None) -> None:
    """Raises ``InvalidParameter`` for a key that is no point of the curve, and for one beside a
    pair that is to be made."""
    if make_sm2 and sm2_public_key:
        raise InvalidParameter("an SM2 key pair is made, or a public key is brought: choose one")
    if sm2_public_key:
        sm2.parse_public_key(sm2_public_key)


def _issue(
    kinds: Iterable[CredentialKind], make_sm2: bool, sm2_public_key: str | None,
    issue_one: IssueOne,
) -> Credentials:
    chosen = list(kinds)
    if SIGNING not in chosen:
        return Credentials.of({kind: issue_one(kind, None) for kind in chosen})
    private, public = sm2.generate_key_pair() if make_sm2 else ("", sm2_public_key)
    issued = {kind: issue_one(kind, public if kind is SIGNING else None) for kind in chosen}
    return Credentials.of(issued, sm2_private_key=private, sm2_public_key=public or "")
