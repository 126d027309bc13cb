"""``faceline settings``: every setting with its meaning and current value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.cli.arguments import Json
from infra.cli.console import print_json, print_table
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
    now = load_settings()
    values = {variable(name): display_value(getattr(now, name)) for name in Settings.model_fields}
    if json:
        print_json(values)
        return
    print_table(
        ("variable", "value", "meaning"),
        (
            (variable(name), values[variable(name)], _meaning(info))
            for name, info in Settings.model_fields.items()
        ),
    )


def settings_page() -> str:
    """``docs/settings.md``."""
    rows = [
        f"| `{variable(name)}` | {_default(info)} | {_cell(_meaning(info))} |\n"
        for name, info in Settings.model_fields.items()
    ]
    return HEAD + "".join(rows)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"FACELINE_{name.upper()}"


def display_value(value: object) -> str:
    """A value as text; a secret only as set or not set."""
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else ""
    return str(value)


def _meaning(info: FieldInfo) -> str:
    """The description of a setting on one line."""
    return " ".join((info.description or "").split())


def _default(info: FieldInfo) -> str:
    value = info.default
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if isinstance(value, Path):
        text = value.as_posix()
    return f"`{text}`" if text else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
