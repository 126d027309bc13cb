"""The processes of a deployment as commands: ``serve``, ``worker``, ``upkeep``."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer

from infra.cli.database import open_database
from infra.cli.stop_signals import StopRequest
from pipeline.config.settings import Settings, load_settings
from pipeline.encryption.key_check import (
    check_master_key,
    establish_master_key,
    has_master_key,
)
from pipeline.encryption.vault import open_vault
from pipeline.errors import DatabaseUnavailable
from pipeline.operations import Stage
from workers.logs import setup_logging

logger = logging.getLogger(__name__)


def serve(
    host: Annotated[str | None, typer.Option(help="Stands for FACELINE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Stands for FACELINE_PORT.")
    ] = None,
) -> None:
    """Run the shim, the HTTP server."""
    from api_shim.serve import run

    run(_settings(needs_key=True, host=host, port=port))


def worker(
    stages: Annotated[
        str | None, typer.Option(help="Stands for FACELINE_STAGES, such as `decode,detect`.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0: one for each core.")
    ] = None,
) -> None:
    """Run a worker for some or all stages. On SIGTERM it finishes its current jobs."""
    from workers.serve import run_worker

    raise typer.Exit(run_worker(_settings(stages=stages, concurrency=concurrency)))


def upkeep(
    index: Annotated[
        bool, typer.Option("--index", help="Serve the stage `index` in the same process.")
    ] = False,
    webhooks: Annotated[
        bool, typer.Option("--webhooks", help="Send webhooks in the same process.")
    ] = False,
) -> None:
    """Run the reconciler and the expiry. Every installation needs one; two do no harm."""
    if index:
        from workers.serve import run_index_and_upkeep

        settings = _settings(stages=Stage.INDEX.value)
        raise typer.Exit(run_index_and_upkeep(settings, webhooks=webhooks))
    from workers.upkeep.loop import run

    stop = StopRequest()
    with stop.handle_signals():
        run(_settings(), stop.requested, webhooks=webhooks)


def send_webhooks() -> None:
    """Send what webhooks are to be told, where upkeep does not. Two do no harm."""
    from workers.webhook_sender import run

    stop = StopRequest()
    with stop.handle_signals():
        run(_settings(needs_key=True), stop.requested)


def _settings(*, needs_key: bool = False, **options: Any) -> Settings:
    """The settings with the given options; sets up logging.

    Raises ``ConfigurationError`` when the database has the tables of another version, or
    its secrets are encrypted under another master key. A process that ``needs_key`` makes its
    own the key of a new database.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings().model_copy(update=given)
    setup_logging(settings)
    try:
        engine = open_database(settings)
        try:
            if needs_key:
                establish_master_key(engine, open_vault(settings))
            elif has_master_key(settings):
                check_master_key(engine, open_vault(settings))
        finally:
            engine.dispose()
    except DatabaseUnavailable as error:
        # The database may come back; until then each call reports the error.
        logger.warning("Starting without the database: %s", error, extra={"action": "start"})
    return settings
