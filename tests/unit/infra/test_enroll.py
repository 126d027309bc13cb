"""``faceline enroll --dry-run``: its output for the operator."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest

from infra.cli.enroll.dry_run import COLUMNS
from infra.cli.reports import ReportNotWritten, open_report, spreadsheet_safe
from tests.unit.infra.conftest import Faceline
from tests.unit.sources.makers import member, picture, tar, zipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people, one of them with a picture twice, and a text."""
    place = tmp_path / "source"
    for number, name in enumerate(("ada/1.png", "ada/2.png", "zoe/1.png", "=cmd()/1.png")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(picture(number))
    (place / "zoe" / "same.png").write_bytes(picture(0))
    (place / "notes.txt").write_text("notes")
    return place


def test_a_table_of_what_would_happen(faceline: Faceline, folder: Path, data_dir: Path) -> None:
    told = faceline("enroll", str(folder), "--dry-run")

    lines = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in
             told.out.splitlines()[1:]}
    assert told.code == 0
    assert lines == {
        "would be enrolled": "4", "duplicate (the same picture)": "1", "rejected": "1",
        "not_a_picture": "1", "all": "6",
    }
    assert "Nothing was enrolled" in told.err
    assert not data_dir.exists()


def test_json_for_machines(faceline: Faceline, folder: Path) -> None:
    told = faceline("enroll", str(folder), "--dry-run", "--json", "--collection", "staff")

    found = json.loads(told.out)
    assert found | {"source": "", "bytes": 0} == {
        "source": "", "dry_run": True, "items": 6, "enrol": 4, "duplicate": 1, "rejected": 1,
        "reasons": {"not_a_picture": 1}, "collections": {"staff": 4}, "names": 3, "bytes": 0,
    }


def test_the_reports_name_every_item(faceline: Faceline, folder: Path, tmp_path: Path) -> None:
    table, lines = tmp_path / "report.csv", tmp_path / "report.jsonl"
    for path in (table, lines):
        assert faceline("enroll", str(folder), "--dry-run", "--report", str(path)).code == 0

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]

    assert tuple(rows[0]) == tuple(records[0]) == COLUMNS
    assert [record["source_name"] for record in records] == [
        "=cmd()/1.png", "ada/1.png", "ada/2.png", "notes.txt", "zoe/1.png", "zoe/same.png",
    ]
    assert rows[0]["name"] == "'=cmd()"
    assert records[0]["name"] == "=cmd()"
    assert (records[5]["outcome"], records[5]["original"]) == ("duplicate", 2)
    assert table.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_cells_are_never_formulas(text: str) -> None:
    assert spreadsheet_safe(text) == f"'{text}"
    assert spreadsheet_safe(-1) == -1
    assert spreadsheet_safe("x=1") == "x=1"


def test_archives_and_manifests_are_known_by_their_bytes(
    faceline: Faceline, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    (tmp_path / "list").write_text("path\n1.png\n")
    tar(tmp_path / "t", [member("1.png", picture(1))], "xz")
    zipped(tmp_path / "z", [("1.png", picture(1))])

    for name in ("list", "t", "z"):
        told = faceline("enroll", str(tmp_path / name), "--dry-run", "--json")
        assert json.loads(told.out)["enrol"] == 1, name


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("--no-wait",), 2, "needs a running service"),
    (("--no-wait", "--report", "r.csv"), 2, "batches report"),
    (("--report", "r.pdf"), 2, "must end in .csv"),
])
def test_wrong_arguments_are_reported_before_anything_starts(
    faceline: Faceline, folder: Path, data_dir: Path, arguments: tuple[str, ...], code: int,
    said: str,
) -> None:
    told = faceline("enroll", str(folder), *arguments)

    assert (told.code, said in told.err) == (code, True), told.err
    assert not (data_dir / "redis").exists()


@pytest.mark.parametrize("arguments", [
    ("nowhere",),
    ("{folder}/ada/1.png",),
    ("{folder}/notes.txt",),
    ("{folder}", "--report", "report.pdf"),
    ("{folder}", "--report", "{folder}/no/report.csv"),
    ("ftp://host/bucket",),
    ("s3+http://host",),
    ("{folder}/z.7z",),
])
def test_unreadable_sources_are_reported(
    faceline: Faceline, folder: Path, arguments: tuple[str, ...]
) -> None:
    (folder / "z.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))

    told = faceline("enroll", "--dry-run", *(part.format(folder=folder) for part in arguments))

    assert told.code == 2
    assert told.err.startswith("faceline: ")


def test_the_application_must_exist(faceline: Faceline, folder: Path) -> None:
    assert faceline("enroll", str(folder), "--dry-run", "--tenant", "nobody").code == 1
    faceline("apps", "create", "shop")
    assert faceline("enroll", str(folder), "--dry-run", "--tenant", "shop").code == 0


def test_the_encoding_of_names_must_exist(faceline: Faceline, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("1.png", picture(1))])

    assert faceline("enroll", str(path), "--dry-run", "--names", "klingon").code == 2
    assert faceline("enroll", str(path), "--dry-run", "--names", "gb18030").code == 0


def test_a_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text("of yesterday")

    def fill() -> None:
        with open_report(path, ["a"]) as write:
            write({"a": 1})
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ReportNotWritten, match="No space left"):
        fill()
    assert [each.name for each in tmp_path.iterdir()] == ["report.csv"]
    assert path.read_text() == "of yesterday"
    with open_report(path, ["a"]) as write:
        write({"a": 1})
    assert path.read_text() == "a\n1\n"
    assert path.stat().st_mode & 0o077 == 0
