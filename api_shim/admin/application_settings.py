"""How applications are answered where documents leave a choice, with samples of the answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from api_shim.admin.applications import NamedApplication
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.dialects.choices import read_choices, with_choices
from api_shim.dialects.registry import app_settings, profiles
from pipeline.accounts.model import CHALLENGES, Tenant
from pipeline.accounts.wait_limits import check_held, wait_limit_s, with_wait_limit
from pipeline.errors import InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS
from pipeline.operations import CALLED_PLANS
from pipeline.operators.model import OperatorRole


class ChoiceItem(msgspec.Struct, frozen=True, kw_only=True):
    """A choice that documents leave: what is chosen, among what, and what it is about."""

    name: str
    value: str
    choices: tuple[str, ...]
    about: str


class ApplicationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an application has chosen. ``profiles`` are choices that belong together. ``waits`` are
    the seconds for which responses are held, by operation, null: until the job ends.
    ``challenges``: liveness clips are only taken with a challenge."""

    choices: list[ChoiceItem]
    profiles: dict[str, dict[str, str]]
    waits: dict[str, float | None]
    challenges: bool


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True):
    """Choices by name, over those of a profile, over (with ``reset``) the defaults; a member that
    is missing changes nothing."""

    application: str
    profile: str = ""
    choices: dict[str, str] = {}
    reset: bool = False
    challenges: bool | None = None


class WaitChange(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds responses of an operation, or of all others (``*``), are held; until
    the job ends with ``until_end``, as the service is set without both."""

    application: str
    operation: str = ALL_OPERATIONS
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    until_end: bool = False


class SampleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Choices to try: those of the application, with ``choices`` (``NAME=VALUE``, separated by
    commas) over those of a profile."""

    application: str
    profile: str = ""
    choices: str = ""
    reset: bool = False


class SampleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of a document to a call that was never made. ``shows`` are the settings that it
    depends on."""

    dialect: str
    title: str
    shows: tuple[str, ...]
    status: int
    body: Any


class SampleAnswers(msgspec.Struct, frozen=True):
    """Samples, document by document."""

    samples: list[SampleAnswer]


def show_settings(
    services: AdminServices, _actor: Actor, given: NamedApplication
) -> ApplicationSettings:
    tenant, settings = services.tenant(given.application), services.service.settings
    waits = {each: wait_limit_s(tenant, each, settings) for each in CALLED_PLANS}
    return ApplicationSettings(
        choices=[
            ChoiceItem(
                name=each.name, value=each.of(tenant), choices=each.choices, about=each.about
            )
            for each in app_settings().values()
        ],
        profiles={name: dict(chosen) for name, chosen in profiles().items()},
        waits={name: None if math.isinf(limit) else limit for name, limit in waits.items()},
        challenges=tenant.must_answer_challenges,
    )


def change_settings(
    services: AdminServices, actor: Actor, given: SettingsChange
) -> ApplicationSettings:
    tenant = services.tenant(given.application)
    chosen = with_choices(
        tenant, read_choices(given.profile or None, given.choices), reset=given.reset
    )
    if given.challenges is not None:
        chosen[CHALLENGES] = given.challenges
    services.service.tenants.set_settings(tenant.id, chosen)
    return show_settings(services, actor, NamedApplication(tenant.name))


def change_wait(
    services: AdminServices, actor: Actor, given: WaitChange
) -> ApplicationSettings:
    check_held(given.operation)
    tenant = services.tenant(given.application)
    limit = math.inf if given.until_end else given.seconds
    services.service.tenants.set_settings(
        tenant.id, with_wait_limit(tenant, given.operation, limit)
    )
    return show_settings(services, actor, NamedApplication(tenant.name))


def show_samples(services: AdminServices, _actor: Actor, given: SampleQuery) -> SampleAnswers:
    tenant = services.tenant(given.application)
    pairs = [each.partition("=") for each in given.choices.split(",") if each]
    if not all(middle for _, middle, _ in pairs):
        raise InvalidParameter("choices are NAME=VALUE, separated by commas")
    choices = read_choices(given.profile or None, {name: value for name, _, value in pairs})
    tried = replace(tenant, settings=with_choices(tenant, choices, reset=given.reset))
    return SampleAnswers(_samples(services, tried))


def _samples(services: AdminServices, tenant: Tenant) -> list[SampleAnswer]:
    return [
        SampleAnswer(
            dialect=letter, title=each.title, shows=each.shows, status=each.reply.status,
            body=msgspec.json.decode(each.reply.body),
        )
        for letter, dialect in services.dialects.items() for each in dialect.samples(tenant)
    ]


_SETTINGS = "/applications/{application}/settings"

SHOW_SETTINGS = AdminOperation(
    "settings.show", "GET", _SETTINGS, "How an application is answered where documents leave a "
    "choice.",
    OperatorRole.VIEWER, NamedApplication, ApplicationSettings, show_settings,
)
CHANGE_SETTINGS = AdminOperation(
    "settings.choose", "PUT", _SETTINGS,
    "Choose how an application is answered, from the next request on.",
    OperatorRole.ADMINISTRATOR, SettingsChange, ApplicationSettings, change_settings,
    subject_of=lambda given: " ".join(
        [*filter(None, [given.profile]), *map("=".join, given.choices.items())]
    ),
)
CHANGE_WAIT = AdminOperation(
    "settings.wait", "PUT", f"{_SETTINGS}/wait",
    "For how long an application's responses are held before they become 202.",
    OperatorRole.ADMINISTRATOR, WaitChange, ApplicationSettings, change_wait,
    subject_of=lambda given: given.operation,
)
SHOW_SAMPLES = AdminOperation(
    "settings.samples", "GET", f"{_SETTINGS}/samples",
    "Answers as an application would get them with these choices.",
    OperatorRole.VIEWER, SampleQuery, SampleAnswers, show_samples,
)

OPERATIONS = (SHOW_SETTINGS, CHANGE_SETTINGS, CHANGE_WAIT, SHOW_SAMPLES)
