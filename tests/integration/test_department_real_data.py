"""The node over the real and synthetic tables of three federal departments, a city and six registers.

The rates asserted here are those that the data's own notes measured with other means.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli.dataset import app
from services.csv_load import LoadOptions, csv_files, load_csv
from services.inspection import Level, inspect_manifest
from services.manifest import Manifest
from services.manifest_file import load_manifest
from services.source import Source
from services.stored import canonical_or_none

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ISTHMUS_TEST_DATA") or ROOT.parent / "shared" / "data")
FOLDERS = [
    "us_gi_bill/va",
    "us_gi_bill/ed",
    "us_gi_bill/dod",
    "synthea_persons/civil_registry",
    "synthea_persons/foreign_affairs",
    "synthea_persons/health",
    "synthea_persons/insurance",
    "synthea_persons/tax",
    "synthea_persons/transport",
    "chicago_food",
]
OPE = ("strip-quotes", "pad:8")

if not DATA.is_dir():
    pytest.skip("ISTHMUS_TEST_DATA names no folder with the test data", allow_module_level=True)


def manifest_of(folder: Path, dataset: str, subject: str, fields: str) -> Manifest:
    text = f"""
[department]
name = "a"
title = "A"
[source]
url = "sqlite:///x.db"
max_rows_per_answer = 100000
[[dataset]]
id = "d"
title = "D"
table = "{dataset}"
sharing_class = "unconditional"
subject = {subject}
{fields}
"""
    path = folder / "department.toml"
    path.write_text(text, encoding="utf-8")
    return load_manifest(path, environ={})


@contextmanager
def source_over(folder: Path, name: str, dataset: str, subject: str, fields: str) -> Iterator[Source]:
    load_csv(csv_files([DATA / name]), f"sqlite:///{folder / 'x.db'}", LoadOptions())
    manifest = manifest_of(folder, dataset, subject, fields)
    assert [each for each in inspect_manifest(manifest) if each.level is Level.ERROR] == []
    source = Source(manifest.source, manifest.datasets)
    yield source
    source.close()


def field(name: str, kind: str) -> str:
    return f'[[dataset.field]]\nname = "{name}"\ntype = "{kind}"\n'


def identifiers(database: Path, table: str, column: str) -> set[str]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute(f'SELECT DISTINCT "{column}" FROM "{table}"').fetchall()
    connection.close()
    found = {canonical_or_none(str(row[0]), OPE) for row in rows}
    return {each for each in found if each is not None and each.strip("0")}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_table_can_be_loaded_drafted_and_checked(name: str, tmp_path: Path) -> None:
    runner = CliRunner()
    database, manifest = tmp_path / "x.db", tmp_path / "department.toml"
    for arguments in (
        ["load", str(DATA / name), "--url", f"sqlite:///{database}"],
        ["draft", "--url", f"sqlite:///{database}", "-o", str(manifest)],
        ["check", str(manifest)],
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.output
    tables = {each.stem for each in csv_files([DATA / name])}
    assert {each.table for each in load_manifest(manifest, environ={}).datasets} == tables


def test_identifiers_in_literal_quotes_join_as_often_as_the_departments_themselves_found(
    tmp_path: Path,
) -> None:
    for folder in ("va", "ed"):
        (tmp_path / folder).mkdir()
    subject = '{ column = "ope", scheme = "us.ope", normalise = ["strip-quotes", "pad:8"], stored = ["{}", \'"{}"\'] }'
    hd = subject.replace('"ope"', '"opeid"')
    with (
        source_over(tmp_path / "ed", "us_gi_bill/ed", "nces_ipeds_hd", hd, field("instnm", "string")) as ed,
        source_over(
            tmp_path / "va", "us_gi_bill/va", "facility_crosswalk", subject, field("city", "string")
        ) as va,
    ):
        monitored = identifiers(tmp_path / "ed" / "x.db", "fsa_hcm", "ope id")
        assert round(100 * len(ed.fetch("d", ["instnm"], monitored).rows) / len(monitored), 1) == 89.2
        assert round(100 * len(va.fetch("d", ["city"], monitored).rows) / len(monitored), 1) == 83.5
        (row,) = ed.fetch("d", ["instnm"], ["00100500"]).rows["00100500"]
    assert row[0] == "ALABAMA STATE UNIVERSITY"


def test_a_persons_rows_come_typed_and_together(tmp_path: Path) -> None:
    subject = '{ column = "SSN", scheme = "us.ssn", normalise = ["strip"] }'
    fields = (
        field("BIRTHDATE", "date")
        + field("DEATHDATE", "date")
        + field("LAT", "double")
        + field("CITY", "string")
    )
    with source_over(tmp_path, "synthea_persons/civil_registry", "person", subject, fields) as source:
        found = source.fetch("d", ["BIRTHDATE", "DEATHDATE"], ["999-49-3983", "999-00-0000"])
    assert [row[:2] for row in found.rows["999-49-3983"]] == [("2022-07-20", None)] and len(found.rows) == 1


def test_a_subject_with_thousands_of_rows_is_bounded(tmp_path: Path) -> None:
    subject = '{ column = "PATIENT", scheme = "local.patient" }'
    with source_over(
        tmp_path, "synthea_persons/health", "encounters", subject, field("ENCOUNTERCLASS", "string")
    ) as source:
        with sqlite3.connect(tmp_path / "x.db") as connection:
            counts = dict(
                connection.execute("SELECT PATIENT, count(*) FROM encounters GROUP BY PATIENT").fetchall()
            )
        connection.close()
        found = source.fetch("d", ["ENCOUNTERCLASS"], list(counts))
    assert {patient: len(rows) for patient, rows in found.rows.items()} == {
        patient: count for patient, count in counts.items() if count <= 1000
    }
    assert found.too_many == {patient for patient, count in counts.items() if count > 1000}
