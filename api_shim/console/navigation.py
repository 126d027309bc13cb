"""The console's navigation."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.operators.model import OperatorRole


@dataclass(frozen=True, slots=True)
class Section:
    """An entry, for operators of a role and those above it. ``title`` is English; the texts
    translate it."""

    title: str
    path: str
    role: OperatorRole = OperatorRole.VIEWER


SECTIONS: tuple[Section, ...] = (
    Section("Overview", "/console"),
    Section("Try it", "/console/try", OperatorRole.OPERATOR),
    Section("Jobs", "/console/jobs"),
    Section("Gallery", "/console/gallery"),
    Section("Batches", "/console/batches"),
    Section("Applications", "/console/applications"),
    Section("System", "/console/system"),
    Section("Documentation", "/console/docs"),
    Section("Operators", "/console/operators", OperatorRole.ADMINISTRATOR),
    Section("Audit log", "/console/audit", OperatorRole.ADMINISTRATOR),
)


def section_path(path: str) -> str:
    """The path of the section that a page belongs to, where one can go on after an error."""
    inside = [each.path for each in SECTIONS if f"{path}/".startswith(f"{each.path}/")]
    return max(inside, key=len, default="/console")
