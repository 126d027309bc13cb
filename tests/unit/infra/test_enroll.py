"""``faceline enroll --dry-run``: its output for the operator."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest

from infra.cli.enroll.dry_run import COLUMNS
from infra.cli.reports import ReportNotWritten, open_report
from pipeline.spreadsheets import spreadsheet_safe
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
        "skipped": 0, "reasons": {"not_a_picture": 1}, "collections": {"staff": 4}, "names": 3,
        "bytes": 0, "odd": [],
    }
    default = json.loads(faceline("enroll", str(folder), "--dry-run", "--json").out)
    assert default["collections"] == {"default": 4}


LITTER = (
    "@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "ada/.DS_Store", "ada/._1.png", "ada/1.png.xmp",
    "ada/IMG_1.AAE", "ada/Thumbs.db", "#recycle/eve/1.png", ".@__thumb/2.png", "zoe/1.png.json",
    "ada/1.png:Zone.Identifier", "System Volume Information/x/1.png",
)


def test_litter_is_skipped_and_counted_apart(
    faceline: Faceline, folder: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(LITTER, 20):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    report = tmp_path / "report.jsonl"

    told = faceline("enroll", str(folder), "--dry-run", "--json", "--report", str(report))

    found = json.loads(told.out)
    counts = ("items", "enrol", "duplicate", "rejected", "skipped", "names")
    assert [found[name] for name in counts] == [6, 4, 1, 1, len(LITTER), 3]
    records = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    skipped = {each["source_name"] for each in records if each["outcome"] == "skipped"}
    assert skipped == set(LITTER)
    assert [each["number"] for each in records if each["number"]] == [1, 2, 3, 4, 5, 6]
    taken = faceline("enroll", str(folder), "--dry-run", "--json", "--take-litter")
    assert json.loads(taken.out)["skipped"] == 0
    assert json.loads(taken.out)["items"] == 6 + len(LITTER)
    told = faceline("enroll", str(folder), "--dry-run")
    assert told.out.splitlines()[-1].split() == ["skipped", str(len(LITTER))]


def odd(faceline: Faceline, source: Path, *options: str) -> dict[str, tuple[int, str]]:
    """The oddities that a dry run finds: how many items, and an example."""
    found = json.loads(faceline("enroll", str(source), "--dry-run", "--json", *options).out)
    return {each["kind"]: (each["items"], each["example"]) for each in found["odd"]}


def test_names_in_a_code_page_look_odd_until_it_is_told(
    faceline: Faceline, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "a.zip", [("nnnn/1.png", picture(1)), ("ada/1.png", picture(2))])
    path.write_bytes(path.read_bytes().replace(b"nnnn", "张三".encode("gbk")))

    (kind, (items, example)), = odd(faceline, path).items()
    assert (kind, items) == ("encoding", 1)
    assert "--names gb18030 reads '张三'" in example
    assert odd(faceline, path, "--names", "gbk") == {}
    told = faceline("enroll", str(path), "--dry-run")
    assert "Odd: 1 names are not UTF-8, such as" in told.err
    assert "张三" in told.err


def test_an_archive_that_is_not_read_to_its_end_says_so(
    faceline: Faceline, tmp_path: Path
) -> None:
    path = tar(tmp_path / "a.tar", [
        member("ada/1.png", picture(1)), member("zoe/1.png", picture(2)),
    ])
    path.write_bytes(path.read_bytes()[:1800])
    (kind, (items, example)), = odd(faceline, path).items()
    assert (kind, items) == ("cut_short", 1)
    assert example.startswith("a.tar: after 2 members: ")


def test_what_else_looks_odd(faceline: Faceline, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    for number, name in enumerate(("JosÃ©/1.png", "??/1.png", "a\\b/1.png", "7.jpg/1.png")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(picture(number))
    (folder / "7.jpg" / "list.csv").write_text("path,collection,name\n1.png,../x,a\nx\n")

    assert odd(faceline, folder) == {
        "lost_letters": (1, "??/1.png"), "twice_decoded": (1, "JosÃ©/1.png, which was 'José'"),
        "backslash": (1, r"a\x5cb/1.png"), "file_as_name": (2, "7.jpg/1.png"),
    }
    assert odd(faceline, folder / "7.jpg" / "list.csv") == {
        "collection": (1, "'../x' of 1.png"),
        "broken_row": (1, "list.csv:3: 1 cells where the header has 3"),
    }
    (folder / "??" / "2.png").write_bytes(picture(9))
    assert odd(faceline, folder / "??") == {}
    zipped(tmp_path / "a.zip", [("photos/ada.png", picture(1)), ("photos/bob.png", picture(2))])
    assert odd(faceline, tmp_path / "a.zip") == {"one_name": (2, "photos")}
    assert odd(faceline, tmp_path / "a.zip", "--layout", "flat") == {}


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
