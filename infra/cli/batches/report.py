"""Writing the report of a batch to a file."""

from __future__ import annotations

from pathlib import Path

from infra.cli.batches.stores import BatchStores
from infra.cli.console import print_notice
from infra.cli.reports import open_report
from pipeline.batches.model import Batch
from pipeline.batches.report import COLUMNS, report_rows


def write_report(stores: BatchStores, batch: Batch, to: Path) -> None:
    """A line for every item. Raises ``InvalidParameter`` for a file that cannot be
    written, ``DatabaseUnavailable``."""
    with open_report(to, COLUMNS) as write:
        for row in report_rows(stores.engine, stores.batches, batch.id):
            write(row)


def announce_report(batch: Batch, to: Path) -> None:
    """That the report is written."""
    print_notice(f"{batch.items} items are in {to}.")
