"""The settings of the process that answers."""

from __future__ import annotations

import socket

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from pipeline.config.described import DescribedSetting, describe_settings
from pipeline.deployment.version import program_version
from pipeline.operators.model import OperatorRole


class SystemSettings(msgspec.Struct, frozen=True):
    """The settings in force in the process that answers, on ``host``, without secrets; other
    processes read their own environment."""

    version: str
    host: str
    settings: list[DescribedSetting]


def show_settings(services: AdminServices, _actor: Actor, _given: Nothing) -> SystemSettings:
    found = describe_settings(services.service.settings)
    return SystemSettings(program_version(), socket.gethostname(), found)


SETTINGS = AdminOperation(
    "system.settings", "GET", "/system/settings",
    "The settings in force: value, source and meaning.",
    OperatorRole.VIEWER, Nothing, SystemSettings, show_settings,
)

OPERATIONS = (SETTINGS,)
