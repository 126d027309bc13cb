"""The choices that an application has among ways to be answered."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.accounts.model import Tenant


@dataclass(frozen=True, slots=True)
class AppSetting:
    """One of ``choices``, the first unless the application has chosen another; kept among the
    tenant's ``settings`` under ``name``."""

    name: str
    choices: tuple[str, ...]
    about: str

    def of(self, tenant: Tenant) -> str:
        """The application's choice."""
        chosen = tenant.settings.get(self.name)
        return chosen if isinstance(chosen, str) and chosen in self.choices else self.choices[0]
