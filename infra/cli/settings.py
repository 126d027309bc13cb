"""``faceline settings``: every setting with its meaning and current value."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.cli.arguments import Json
from infra.cli.console import print_json, print_table
from pipeline.config.described import default_value, describe_settings, meaning, variable
from pipeline.config.settings import Settings, load_settings

HEAD = """\
# Settings

Every process reads its settings from the environment; `faceline settings` prints the
current values on a machine. `make settings` generates this page from the code.

| variable | default | meaning |
|---|---|---|
"""


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/settings.md.")
    ] = False,
    json: Json = False,
) -> None:
    """Show every setting with its meaning and current value; secrets are hidden."""
    if markdown:
        typer.echo(settings_page(), nl=False)
        return
    found = describe_settings(load_settings())
    if json:
        print_json({each.variable: each.value for each in found})
        return
    print_table(
        ("variable", "value", "source", "meaning"),
        ((each.variable, each.value, each.source.value, each.meaning) for each in found),
    )


def settings_page() -> str:
    """``docs/settings.md``."""
    rows = []
    for name, info in Settings.model_fields.items():
        default = default_value(info)
        shown = f"`{default}`" if default else "empty"
        rows.append(f"| `{variable(name)}` | {shown} | {_cell(meaning(info))} |\n")
    return HEAD + "".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
