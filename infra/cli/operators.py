"""``faceline operators``: who may use the console and ``/admin``."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, suppress
from typing import Annotated

import typer

from infra.cli.arguments import Json, local_operator
from infra.cli.console import local_time, print_json, print_notice, print_table
from infra.cli.database import Stores
from infra.local.stack import reachable, running_stack
from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, OperatorExists
from pipeline.operators.audit import AuditLog, Recording
from pipeline.operators.external import ExternalAccounts
from pipeline.operators.model import Operator, OperatorRole
from pipeline.operators.sessions import MAX_TOKEN_DAYS, SessionStore
from pipeline.operators.store import OperatorStore

app = typer.Typer(help="Accounts of the console and of /admin.", no_args_is_help=True)

FIRST = "admin"
"""The account that `faceline up` makes where there is none."""

Name = Annotated[str, typer.Argument(help="The operator's name.")]
Role = Annotated[OperatorRole, typer.Option(help="What the operator may do.")]
Faces = Annotated[bool, typer.Option("--faces/--no-faces", help="May see pictures of people.")]
Url = Annotated[
    str | None,
    typer.Option(help="Where the service is reached; without it, on this machine."),
]
External = Annotated[
    bool, typer.Option("--external", help="Signs in at the identity provider, by this name there.")
]


class Accounts:
    """The stores that these commands use; changes are recorded in the audit log."""

    def __init__(self, stores: Stores) -> None:
        self.settings = stores.settings
        self.operators = OperatorStore(stores.engine)
        self.sessions = SessionStore(stores.engine)
        self._external = ExternalAccounts(
            stores.engine, self.operators, stores.settings.oidc_issuer
        )
        self._audit = AuditLog(stores.engine)

    @property
    def external(self) -> ExternalAccounts:
        """Those of the identity provider. Raises ``ConfigurationError`` without one."""
        if not self.settings.oidc_issuer:
            raise ConfigurationError("no identity provider is set up: FACELINE_OIDC_ISSUER")
        return self._external

    def recording(self, action: str, subject: str) -> AbstractContextManager[Recording]:
        """An entry around a change that names the user of this machine."""
        return self._audit.recording(
            local_operator(), action, subject=subject, host=socket.gethostname()
        )

    def link(self, operator: Operator, url: str) -> str:
        """A link that signs an operator in once."""
        with self.recording("operator.link", operator.name):
            return f"{url}/console/sign-in/link?token={self.sessions.make_link(operator.id)}"


@app.command()
def create(
    name: Name, role: Role = OperatorRole.VIEWER, faces: Faces = False, url: Url = None,
    external: External = False,
) -> None:
    """Make an account, and print a link that signs it in once, within an hour, unless it signs
    in at the identity provider."""
    accounts = Accounts(Stores())
    if external:
        with accounts.recording("operator.create", f"{name}: {role.value}"):
            accounts.external.create(name, role, sees_faces=faces)
        print_notice(f"{name} signs in at {accounts.settings.oidc_issuer}.")
        return
    with accounts.recording("operator.create", f"{name}: {role.value}"):
        made = accounts.operators.create(name, role, sees_faces=faces)
    typer.echo(accounts.link(made, url or service_url(accounts.settings)))


@app.command("list")
def list_operators(json: Json = False) -> None:
    """All accounts."""
    found = Accounts(Stores()).operators.all()
    if json:
        print_json([
            {
                "name": each.name, "role": each.role.value, "sees_faces": each.sees_faces,
                "disabled": each.disabled_at is not None, "created_at": each.created_at,
                "password": each.has_password, "one_time_codes": each.has_codes,
                "identity_provider": each.is_external,
            }
            for each in found
        ])
        return
    print_table(
        ("name", "role", "sees people", "state", "signs in by", "since"),
        (
            (
                each.name, each.role.value, "yes" if each.sees_faces else "no",
                "disabled" if each.disabled_at else "active", _way_in(each),
                local_time(each.created_at),
            )
            for each in found
        ),
    )


def _way_in(operator: Operator) -> str:
    if operator.is_external:
        return "identity provider"
    if not operator.has_password:
        return "link"
    return "password and code" if operator.has_codes else "password"


@app.command()
def link(
    name: Name,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Forget password, one-time codes and identity provider, and end all "
            "sessions, first."
        ),
    ] = False,
    url: Url = None,
) -> None:
    """Print a link that signs an operator in once, within an hour; earlier links end."""
    accounts = Accounts(Stores())
    if reset:
        with accounts.recording("operator.reset", name):
            found = accounts.operators.reset(name)
    else:
        found = accounts.operators.by_name(name)
    typer.echo(accounts.link(found, url or service_url(accounts.settings)))


@app.command()
def provider(name: Name) -> None:
    """Let an account sign in at the identity provider only, and who next has its name there;
    `link --reset` undoes it."""
    accounts = Accounts(Stores())
    with accounts.recording("operator.expect", name):
        accounts.external.expect(name)
    print_notice(f"{name} signs in at {accounts.settings.oidc_issuer}.")


@app.command()
def role(
    name: Name, new_role: Annotated[OperatorRole, typer.Argument(help="The new role.")],
    faces: Annotated[
        bool | None,
        typer.Option("--faces/--no-faces", help="May see pictures of people; else as before."),
    ] = None,
) -> None:
    """Change what an operator may do, from the next request on."""
    accounts = Accounts(Stores())
    with accounts.recording("operator.change", f"{name}: {new_role.value}"):
        changed = accounts.operators.change(name, role=new_role, sees_faces=faces)
    sees = "sees" if changed.sees_faces else "does not see"
    print_notice(f"{name} is {changed.role.value} and {sees} pictures of people.")


@app.command()
def disable(name: Name) -> None:
    """Shut an account out at once, with its sessions and the tokens of its programs."""
    _set_disabled(name, disabled=True)


@app.command()
def enable(name: Name) -> None:
    """Let a disabled account in again."""
    _set_disabled(name, disabled=False)


def _set_disabled(name: str, *, disabled: bool) -> None:
    accounts, state = Accounts(Stores()), "disabled" if disabled else "active"
    with accounts.recording("operator.change", f"{name}: {state}"):
        accounts.operators.change(name, disabled=disabled)
    print_notice(f"{name} is {state}.")


@app.command()
def token(
    name: Name, program: Annotated[str, typer.Argument(help="What uses the token.")],
    days: Annotated[int, typer.Option(min=1, max=MAX_TOKEN_DAYS, help="How long it works.")] = 90,
) -> None:
    """Print a token with which a program acts as an operator at `/admin`."""
    accounts = Accounts(Stores())
    operator = accounts.operators.by_name(name)
    with accounts.recording("operator.token", f"{name}: {program}"):
        typer.echo(accounts.sessions.issue_token(operator.id, program, days))
    print_notice("Keep the token now: it is not shown again.")


@app.command()
def tokens(name: Name, json: Json = False) -> None:
    """The tokens of an operator's programs."""
    accounts = Accounts(Stores())
    operator = accounts.operators.by_name(name)
    found = [each for each in accounts.sessions.of(operator.id) if each.program]
    if json:
        print_json([
            {
                "id": each.id, "program": each.program, "created_at": each.created_at,
                "seen_at": each.seen_at, "expires_at": each.expires_at,
            }
            for each in found
        ])
        return
    print_table(
        ("program", "id", "since", "last request", "until"),
        (
            (
                each.program, each.id, local_time(each.created_at), local_time(each.seen_at),
                local_time(each.expires_at),
            )
            for each in found
        ),
    )


@app.command()
def revoke(
    name: Name, token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")]
) -> None:
    """End a token of an operator's program at once."""
    accounts = Accounts(Stores())
    operator = accounts.operators.by_name(name)
    with accounts.recording("operator.revoke", name):
        accounts.sessions.end_one(operator.id, token_id)
    print_notice("The token is ended.")


def service_url(settings: Settings) -> str:
    """Where this machine reaches the service."""
    running = running_stack(settings.data_dir)
    own = running.url if running and running.url else ""
    url = own or f"http://{reachable(settings.host)}:{settings.port}"
    return url + settings.root_path.rstrip("/")


def console_lines(stores: Stores, url: str) -> list[str]:
    """What `faceline up` says about the console. Makes the first account, and a link for it as
    long as it has no password."""
    if not stores.settings.console:
        return []
    accounts = Accounts(stores)
    if not accounts.operators.all():
        _make_first(accounts)
    first = accounts.operators.find(FIRST)
    if first is None or first.disabled_at is not None or first.has_password:
        return [f"Console: {url}/console"]
    return [f"Console: {accounts.link(first, url)}", "  (signs in once, within an hour)"]


def _make_first(accounts: Accounts) -> None:
    subject = f"{FIRST}: {OperatorRole.ADMINISTRATOR.value}"
    # Another process may make it at the same time.
    with suppress(OperatorExists), accounts.recording("operator.create", subject):
        accounts.operators.create(FIRST, OperatorRole.ADMINISTRATOR, sees_faces=True)


def console_link(url: Url = None) -> None:
    """Print a link that signs the first administrator in at the console once, within an hour."""
    stores = Stores()
    accounts = Accounts(stores)
    if not accounts.operators.all():
        _make_first(accounts)
    found = accounts.operators.by_name(FIRST)
    typer.echo(accounts.link(found, url or service_url(stores.settings)))
