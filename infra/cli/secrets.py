"""``faceline secrets``: the master key and the tenants' data keys."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from infra.cli import saved_keys
from infra.cli.arguments import AppName, Json, Yes
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.accounts import deletion
from pipeline.database.clock import database_time
from pipeline.encrypt_existing import EncryptedCounts, EncryptExisting
from pipeline.encryption import data_keys
from pipeline.encryption.keyring import KEY_BYTES, KeyFile, decode_key, encode_key
from pipeline.encryption.rewrap import count_by_key, rewrap_all
from pipeline.encryption.vault import Vault
from pipeline.errors import InvalidParameter

app = typer.Typer(help="The master key, and encryption at rest.", no_args_is_help=True)
app.command("save-keys")(saved_keys.save)
app.command("load-keys")(saved_keys.load)
app.command("strip-keys")(saved_keys.strip)

# Runs over a tenant's data until one finds nothing more to encrypt.
MOST_RUNS = 20


@app.command("new-key")
def new_key() -> None:
    """Print a fresh master key, for `FACELINE_MASTER_KEY` or a key file."""
    typer.echo(encode_key(os.urandom(KEY_BYTES)))


@app.command()
def status(json: Json = False) -> None:
    """How many secrets are encrypted under which master key, and which applications are
    encrypted at rest."""
    stores = Stores()
    found, known = count_by_key(stores.engine, stores.vault), stores.vault.key_ids()
    names = {tenant.id: tenant.name for tenant in stores.tenants.all()}
    encrypted = {
        names[tenant_id]: state.value
        for tenant_id, state in data_keys.key_states(stores.engine).items() if tenant_id in names
    }
    if json:
        print_json({"keys": known, "secrets": found, "encrypted": encrypted})
        return
    strange = {key for counts in found.values() for key in counts}.difference(known)
    roles = dict.fromkeys(known, "former") | dict.fromkeys(sorted(strange), "unknown")
    roles[known[0]] = "current"
    print_table(
        ("key", "known as", *found),
        ((key, role, *(counts[key] for counts in found.values())) for key, role in roles.items()),
    )
    for name, state in encrypted.items():
        print_notice(f"{name}: encryption at rest is {state}.")


@app.command()
def rotate(
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the new key in Base64 (`-`: stdin); else one is made."),
    ] = None,
) -> None:
    """Take a new master key and encrypt every secret under it, while the service runs.

    If an earlier rotation was interrupted, this completes it and takes no new key. When the
    keys are in the environment, set the new one as `FACELINE_MASTER_KEY` of every process,
    and the former ones as `FACELINE_MASTER_KEYS_OLD`, before you run this.
    """
    stores = Stores()
    engine, ring, vault = stores.engine, stores.keyring, stores.vault
    if isinstance(ring, KeyFile):
        if _count_outdated(engine, vault):
            print_notice("An earlier rotation was interrupted: this completes it, with no new key.")
        else:
            ring.add(_new_key(key_file))
    elif key_file is not None or len(vault.key_ids()) == 1:
        raise InvalidParameter(
            "the master key is in the environment: give every process the new one as "
            "FACELINE_MASTER_KEY and this one in FACELINE_MASTER_KEYS_OLD, then repeat this"
        )
    print_notice(
        f"{_rewrap_until_done(engine, vault)} values are now encrypted under the key "
        f"{vault.key_ids()[0]}."
    )
    if len(vault.key_ids()) > 1:
        print_notice("The former key is kept: older backups need it. Without such backups, run: "
            "faceline secrets retire")


def _new_key(path: Path | None) -> bytes:
    if path is None:
        return os.urandom(KEY_BYTES)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
    return decode_key(text.strip(), str(path))


def _rewrap_until_done(engine: Engine, vault: Vault) -> int:
    """Repeat until nothing is left: processes may have encrypted under the former key."""
    return sum(iter(lambda: rewrap_all(engine, vault), 0))


def _count_outdated(engine: Engine, vault: Vault) -> int:
    """How many values are encrypted under another key than the current one."""
    found = count_by_key(engine, vault).values()
    return sum(counts.total() - counts[vault.key_ids()[0]] for counts in found)


@app.command()
def retire() -> None:
    """Remove the former master keys from the key file. Secrets in backups that are encrypted
    under one of them become unreadable."""
    stores = Stores()
    ring = stores.keyring
    if not isinstance(ring, KeyFile):
        raise InvalidParameter("the keys are in the environment: remove them there")
    if done := _rewrap_until_done(stores.engine, stores.vault):
        print_notice(f"{done} values were encrypted anew first.")
    print_notice(f"{ring.remove_former()} former keys are removed.")


@app.command("encrypt-tenant")
def encrypt_tenant(name: AppName) -> None:
    """Encrypt what is stored of an application, while the service runs. Repeat it after an
    interruption."""
    stores = Stores()
    tenant, engine = stores.tenants.by_name(name), stores.engine
    data_keys.begin_encrypting(engine, stores.vault, tenant.id, database_time(engine))
    # By then every process knows the key.
    time.sleep(2 * data_keys.CACHE_S)
    total: Counter[str] = Counter()
    for _ in range(MOST_RUNS):
        done = _encrypt_once(stores, tenant.id)
        total.update(pictures=done.pictures, cutouts=done.cutouts, vectors=done.vectors,
                     results=done.results)
        total["used clips"] += done.clips
        total["items of batches"] += done.items
        if done.nothing:
            break
    else:
        raise InvalidParameter("some data are not encrypted yet: run it again")
    data_keys.finish_encrypting(engine, tenant.id)
    print_notice(
        ", ".join(f"{count} {what}" for what, count in total.items()) + " are encrypted now."
    )
    if done.uploads:
        print_notice(f"{done.uploads} uploads are not: they expire, or go with their jobs.")
    if done.missing:
        print_notice(f"{done.missing} objects are missing from the media store.", style="yellow")
    if engine.dialect.name == "postgresql":
        print_notice("The tables hold replaced values until VACUUM FULL rewrites them.")


def _encrypt_once(stores: Stores, tenant_id: int) -> EncryptedCounts:
    key = stores.keys.data_key(tenant_id)
    if key is None:
        raise InvalidParameter("the application has no key")
    return EncryptExisting(stores.engine, stores.media, tenant_id, key).run()


@app.command("destroy-tenant-key")
def destroy_tenant_key(name: AppName, yes: Yes = False) -> None:
    """Destroy the key of an application that is encrypted at rest, and with it its data. This
    cannot be undone."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    if not yes and typer.prompt("Type the application's name to destroy its data") != name:
        raise InvalidParameter("that is not its name; nothing was destroyed")
    if not deletion.destroy_tenant_key(stores.engine, tenant.id, journal=stores.journal):
        raise InvalidParameter(
            f"{name} is not encrypted at rest: use faceline gallery delete-tenant"
        )
    print_notice(
        f"The key of {name} is destroyed. Running processes forget it within seconds; backups "
        "of the table data_keys still hold it."
    )
