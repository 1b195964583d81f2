"""`isthmus dataset`: CSV files into a database, a database into a draft, a manifest against its database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.dataset import app
from services import csv_load
from services.csv_load import LoadError, LoadOptions, csv_files, load_csv
from services.manifest_file import load_manifest

runner = CliRunner()


def run(*arguments: object) -> Result:
    return runner.invoke(app, [str(each) for each in arguments])


def tables(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    connection.close()
    return counts


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "数据"
    folder.mkdir()
    (folder / "人口.csv").write_text(
        '\ufeff身份证号,姓 名,出生日期,收入,"带""引号:%(x)s"\r\n'
        '11010119900307231X,王小明,1990-03-07,100.50,"a\nb"\r\n'
        '"""11010119900307232X""",李雷,1991-01-01,,\r\n',
        encoding="utf-8",
    )
    (folder / "payments.csv").write_text("id,amount\n0001,5\n0002,7\n")
    return folder


def test_a_folder_becomes_a_database_with_text_columns_and_indexes(tmp_path: Path, people: Path) -> None:
    database = tmp_path / "x.db"
    result = run("load", people, "--url", f"sqlite:///{database}", "--index", "人口.身份证号", "--json")
    assert result.exit_code == 0, result.output
    assert {each["table"]: each["rows"] for each in json.loads(result.stdout)["tables"]} == {
        "payments": 2,
        "人口": 2,
    }
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT * FROM 人口").fetchall()
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM 人口 WHERE 身份证号 = 'x'").fetchone()
    connection.close()
    assert rows == [
        ("11010119900307231X", "王小明", "1990-03-07", "100.50", "a\nb"),
        ('"11010119900307232X"', "李雷", "1991-01-01", None, None),
    ]
    assert "INDEX" in plan[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n3\n", ":3: has 1 cells where the header has 2"),
        (b"a,b\n1,2,3\n", ":2: has 3 cells"),
        (b'a,b\n1,"2\n', "is no CSV"),
        (b'a,b\n1,"2"x\n', ":2: is no CSV"),
        (b"a,a\n", ':1: names the column "a" twice'),
        (b"a,A\n", ":1: names the column"),
        (b"a,\n", ":1: column 2 needs a name"),
        (b"", ":1: is empty"),
        (b"a\n1\n\xff\n", ":3: is not utf-8; name the file's encoding"),
        (b"a\n1\0\n", ":2: holds a NUL"),
        (b"a\n" + b"x" * 140_000 + b"\n", ":2: is no CSV"),
    ],
)
def test_a_malformed_file_is_named_with_its_line_and_nothing_is_loaded(
    tmp_path: Path, content: bytes, words: str
) -> None:
    good, bad, database = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "x.db"
    good.write_bytes(b"a\n1\n")
    bad.write_bytes(content)
    result = run("load", good, bad, "--url", f"sqlite:///{database}")
    assert result.exit_code == 1
    assert f"{bad}{words}" in result.stderr.replace("\n", "") or words in result.stderr
    assert not database.exists()


def test_a_failure_leaves_a_database_that_was_there_as_it_was(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    (tmp_path / "a.csv").write_text("a\n1\n2\n")
    assert run("load", tmp_path / "a.csv", "--url", f"sqlite:///{database}").exit_code == 0
    (tmp_path / "a.csv").write_text("a\n" + "9\n" * 5000 + "1,2\n")
    for extra in ([], ["--replace"]):
        assert run("load", tmp_path / "a.csv", "--url", f"sqlite:///{database}", *extra).exit_code == 1
        assert tables(database) == {"a": 2}
    (tmp_path / "a.csv").write_text("a\n9\n")
    again = run("load", tmp_path / "a.csv", "--url", f"sqlite:///{database}")
    assert again.exit_code == 1 and "--replace replaces it" in again.stderr
    assert run("load", tmp_path / "a.csv", "--url", f"sqlite:///{database}", "--replace").exit_code == 0
    assert tables(database) == {"a": 1}


@pytest.mark.parametrize(
    ("index", "code", "words"),
    [("nodot", 2, "table.column"), ("b.a", 1, "is not loaded"), ("a.x", 1, "has no column")],
)
def test_an_index_on_nothing_is_refused(tmp_path: Path, index: str, code: int, words: str) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    result = run("load", tmp_path / "a.csv", "--url", f"sqlite:///{tmp_path / 'x.db'}", "--index", index)
    assert result.exit_code == code and words in result.stderr
    assert not (tmp_path / "x.db").exists()


def test_files_in_other_encodings_are_loaded_when_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("姓名\n王小明\n".encode("gb18030"))
    options = LoadOptions(encoding="gb18030")
    load_csv(csv_files([tmp_path / "a.csv"]), f"sqlite:///{tmp_path / 'x.db'}", options)
    assert tables(tmp_path / "x.db") == {"a": 1}
    with pytest.raises(LoadError, match="is no encoding"):
        load_csv([tmp_path / "a.csv"], f"sqlite:///{tmp_path / 'y.db'}", LoadOptions(encoding="klingon"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "cannot be used"),
        ("sqlite://", "names no file"),
        ("sqlite:////no/such/folder/x.db", "does not exist"),
        ("mssql+pyodbc://h/d", "cannot"),
    ],
)
def test_a_database_that_cannot_be_loaded_into_is_refused(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(LoadError, match=words):
        load_csv([tmp_path / "a.csv"], url, LoadOptions())


def test_paths_that_hold_no_csv_or_the_same_table_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(LoadError, match="holds no .csv"):
        csv_files([tmp_path / "a"])
    with pytest.raises(LoadError, match="does not exist"):
        csv_files([tmp_path / "missing.csv"])
    for name in ("t.csv", "a/T.csv"):
        (tmp_path / name).write_text("a\n")
    with pytest.raises(LoadError, match="same table"):
        csv_files([tmp_path / "t.csv", tmp_path / "a"])


def test_a_line_longer_than_memory_allows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_load, "MAX_LINE_BYTES", 10)
    (tmp_path / "a.csv").write_text("a\n" + "1" * 11 + "\n")
    with pytest.raises(LoadError, match=":2: is longer than 10 bytes"):
        load_csv([tmp_path / "a.csv"], f"sqlite:///{tmp_path / 'x.db'}", LoadOptions())


@pytest.fixture
def loaded(tmp_path: Path, people: Path) -> Path:
    database = tmp_path / "x.db"
    indexes = (("人口", "身份证号"),)
    load_csv(csv_files([people]), f"sqlite:///{database}", LoadOptions(indexes=indexes))
    return database


def test_a_draft_loads_as_it_is_and_marks_what_must_be_decided(tmp_path: Path, loaded: Path) -> None:
    (tmp_path / "conf").mkdir()
    output = tmp_path / "conf" / "department.toml"
    result = run("draft", "--url", f"sqlite:///{loaded}", "-o", output)
    assert result.exit_code == 0, result.stderr
    text = output.read_text(encoding="utf-8")
    assert 'url = "sqlite:///../x.db"' in text and text.count("DECIDE") > 8
    # It guesses from values and writes none of them.
    assert "王小明" not in text and "19900307" not in text
    payments, people = load_manifest(output, environ={}).datasets
    assert people.subject.column == "身份证号" and people.subject.stored == ("{}", '"{}"')
    assert [field.name for field in people.fields] == [
        "身份证号",
        "姓 名",
        "出生日期",
        "收入",
        '带"引号:%(x)s',
    ]
    assert [field.type for field in people.fields] == [5, 5, 7, 4, 5]
    # 0001 is a code, not the number one.
    assert [field.type for field in payments.fields] == [5, 2]
    checked = run("check", output, "--json")
    assert checked.exit_code == 0 and json.loads(checked.stdout)["ok"]


def test_a_draft_of_one_table_goes_to_standard_output(loaded: Path) -> None:
    result = run("draft", "--url", f"sqlite:///{loaded}", "--table", "payments")
    assert result.exit_code == 0 and result.stdout.count("[[dataset]]") == 1


def test_a_draft_does_not_write_over_a_file_or_a_password(tmp_path: Path, loaded: Path) -> None:
    output = tmp_path / "department.toml"
    output.write_text("mine")
    result = run("draft", "--url", f"sqlite:///{loaded}", "-o", output)
    assert result.exit_code == 1 and "--force" in result.stderr and output.read_text() == "mine"
    (tmp_path / "url").write_text(f"sqlite:///{loaded}\n")
    assert run("draft", "--url-file", tmp_path / "url", "-o", output, "--force").exit_code == 0
    assert 'url_file = "url"' in output.read_text(encoding="utf-8")
    assert load_manifest(output, environ={}).datasets


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["draft"], 2, "exactly one"),
        (["draft", "--url", "sqlite:///{db}", "--table", "payment"], 1, 'did you mean "payments"?'),
        (["draft", "--url", "sqlite:///{db}.gone"], 1, "failed"),
        (["draft", "--url", "what"], 1, "cannot be read"),
        (["check", "{db}.toml"], 1, "cannot be read"),
        (["load"], 2, "Missing"),
        (["unknown"], 2, "No such command"),
    ],
)
def test_exit_codes_tell_a_refusal_from_a_wrong_command_line(
    loaded: Path, arguments: list[str], code: int, words: str
) -> None:
    result = run(*(each.replace("{db}", str(loaded)) for each in arguments))
    assert result.exit_code == code and words in result.stderr


def test_a_check_names_every_mismatch_and_no_value(tmp_path: Path, loaded: Path) -> None:
    manifest = tmp_path / "department.toml"
    manifest.write_text(
        """
[department]
name = "a"
title = "甲"
[source]
url = "sqlite:///x.db"
[[dataset]]
id = "people"
title = "人口"
table = "人口"
sharing_class = "conditional"
subject = { column = "身份证号", scheme = "cn.id", normalise = ["strip-quotes", "lower"] }
[[dataset.field]]
name = "name"
column = "姓 名"
type = "int64"
[[dataset.field]]
name = "gone"
type = "string"
[[dataset]]
id = "payments"
title = "付款"
table = "payments"
sharing_class = "unconditional"
subject = { column = "id", scheme = "cn.id" }
[[dataset.field]]
name = "amount"
type = "int64"
[[dataset]]
id = "nothing"
title = "无"
table = "paymets"
sharing_class = "unconditional"
subject = { column = "id", scheme = "cn.id" }
[[dataset.field]]
name = "amount"
type = "int64"
""",
        encoding="utf-8",
    )
    result = run("check", manifest, "--json")
    assert result.exit_code == 1
    findings = [
        (each["level"], each["place"], each["what"]) for each in json.loads(result.stdout)["findings"]
    ]
    assert findings == [
        ("error", 'dataset "people", field "gone", key column', 'the table "人口" has no column "gone"'),
        ("error", 'dataset "people", field "name", key type', "2 of 2 sampled values are no int64"),
        (
            "error",
            'dataset "people", subject, key stored',
            "no template leads back to 2 of 2 sampled identifiers",
        ),
        ("warning", 'dataset "people", key conditions', "is empty for a conditional dataset"),
        ("warning", 'dataset "payments", subject, key column', 'the column "id" has no index'),
        ("error", 'dataset "nothing", key table', 'there is no table or view "paymets"'),
    ]
    plain = run("check", manifest)
    assert plain.exit_code == 1 and "4 errors, 2 warnings" in plain.stdout
    assert "王小明" not in plain.output + result.output


def test_a_check_finds_two_datasets_that_are_the_source_of_one_element(tmp_path: Path, loaded: Path) -> None:
    manifest = tmp_path / "department.toml"
    text = '[department]\nname = "a"\ntitle = "甲"\n[source]\nurl = "sqlite:///x.db"\n'
    for name, keys in (("one", ""), ("two", ""), ("three", 'second_source_reason = "另行核实"\n')):
        text += f"""
[[dataset]]
id = "{name}"
title = "付款"
table = "payments"
sharing_class = "unconditional"
subject = {{ column = "id", scheme = "cn.id" }}
[[dataset.field]]
name = "amount"
type = "string"
element = "DE1"
source = true
{keys}"""
    manifest.write_text(text, encoding="utf-8")
    result = run("check", manifest, "--json")
    errors = [each for each in json.loads(result.stdout)["findings"] if each["level"] == "error"]
    assert [each["place"] for each in errors] == ['dataset "two", field "amount", key source'], errors
    assert '"one" is the source of the element "DE1" already' in errors[0]["what"]
    assert "second_source_reason" in errors[0]["remedy"]


def test_a_check_reports_every_fault_of_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "department.toml").write_text("[department]\nname = 'A'\n")
    result = run("check", tmp_path / "department.toml", "--json")
    places = [each["place"] for each in json.loads(result.stdout)["findings"]]
    assert result.exit_code == 1
    assert places == ["[department], key name", "[department], key title", "[source], key url", "key dataset"]
