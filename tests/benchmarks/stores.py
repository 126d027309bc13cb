"""Fresh stores for a benchmark, of the kinds that its options name."""

from __future__ import annotations

import argparse
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.config.settings import Settings
from tests.servers import MinioServer, PostgresServer


@contextmanager
def stores(arguments: argparse.Namespace) -> Iterator[Settings]:
    """Settings of a fresh database and media store."""
    with ExitStack() as stack:
        values: dict[str, object] = {
            "data_dir": stack.enter_context(tempfile.TemporaryDirectory())
        }
        if arguments.database == "postgresql":
            server = stack.enter_context(PostgresServer())
            values["database_url"] = stack.enter_context(server.database())
        if arguments.store == "minio":
            minio = stack.enter_context(MinioServer())
            values |= minio.settings(minio.bucket(f"bucket-{uuid.uuid4().hex}"))
        yield Settings.model_validate(values)


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``stores`` reads."""
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--store", choices=("directory", "minio"), default="directory")
