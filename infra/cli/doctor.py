"""``faceline doctor``: checks the configuration and its prerequisites, with advice."""

from __future__ import annotations

from dataclasses import asdict

import typer

from infra.cli.arguments import Json
from infra.cli.checks import run_checks
from infra.cli.console import out, print_json, print_notice
from pipeline.config.settings import load_settings
from pipeline.deployment.findings import Check, Verdict

MARKS = {
    Verdict.GOOD: ("ok", "green"),
    Verdict.NOTE: ("--", "yellow"),
    Verdict.BAD: ("!!", "red"),
}


def doctor(json: Json = False) -> None:
    """Check everything that the service needs; exit code 1 when something is wrong."""
    checks = run_checks(load_settings())
    bad = [check for check in checks if check.verdict is Verdict.BAD]
    if json:
        print_json({"ok": not bad, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _show(check)
        print_notice(f"\n{len(bad)} to fix." if bad else "\nEverything is in order.")
    if bad:
        raise typer.Exit(1)


def _show(check: Check) -> None:
    mark, style = MARKS[check.verdict]
    line = f"{mark} {check.name:<13} {check.found}"
    out.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    if check.advice:
        out.print(f"{'':17}{check.advice}", markup=False, highlight=False, soft_wrap=True)
