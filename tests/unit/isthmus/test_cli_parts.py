"""The command line: what it reads from people, where it finds its connection, and how it fails."""

import json
import subprocess
import sys
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from isthmus.cli import inputs
from isthmus.cli.connection import ConnectionOptions, NotConnected, complete, configuration_path
from isthmus.cli.failures import REMEDIES, exit_code, exit_code_of, report
from isthmus.cli.main import PARTS, app
from isthmus.cli.output import cell, clean, plain
from isthmus.config import ConfigError
from isthmus.errors import Denied, IsthmusError, NotFound, Reason, Unavailable
from isthmus.v1.common_pb2 import FieldType, SharingClass

RUN = CliRunner()


def test_help_says_every_part_and_every_exit_code_without_loading_what_it_does_not_need() -> None:
    script = (
        "import sys\n"
        "from isthmus.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'grpc', 'google.protobuf', 'cryptography', 'sqlalchemy', 'rich.console', 'isthmus.client'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    assert all(name in done.stdout for name in PARTS)
    assert all(word in done.stdout for word in ("0 done", "1 failed", "2 wrong", "3 denied", "4 unavailable"))


@pytest.mark.parametrize("name", PARTS)
def test_every_part_that_help_promises_is_there(name: str) -> None:
    result = RUN.invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.stderr
    assert "Exit codes" in result.stdout


def test_a_misspelt_command_is_a_wrong_command_line_with_a_suggestion() -> None:
    result = RUN.invoke(app, ["quary"])
    assert result.exit_code == 2
    assert "Did you mean 'query'?" in result.stderr


def test_what_is_missing_to_connect_is_said_with_where_to_set_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISTHMUS_CONFIG", str(tmp_path / "none.toml"))
    result = RUN.invoke(app, ["--address", "localhost:1", "catalog", "list"])
    assert result.exit_code == 1
    assert "not known: cert, key, ca" in result.stderr
    assert "ISTHMUS_CERT" in result.stderr
    assert result.stdout == ""


def test_options_win_over_the_environment_and_both_over_the_profile(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[profile.default]\naddress = "file:1"\ncert = "me.pem"\n[profile.school]\nserver = "gateway/school"\n'
    )
    environ = {"ISTHMUS_CONFIG": str(tmp_path / "config.toml")}
    whole = complete(ConnectionOptions(address="option:1"), environ)
    assert (whole.address, whole.cert) == ("option:1", tmp_path / "me.pem")
    assert complete(ConnectionOptions(), environ).address == "file:1"
    school = complete(ConnectionOptions(profile="school"), environ)
    assert (school.server, school.address) == ("gateway/school", None)
    with pytest.raises(NotConnected, match="there are: default, school"):
        complete(ConnectionOptions(profile="shcool"), environ)


def test_a_mistake_in_the_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[profile.default]\nadress = "x"\n')
    with pytest.raises(ConfigError, match=r"profile\.default\.adress: is not known; did you mean address\?"):
        complete(ConnectionOptions(), {"ISTHMUS_CONFIG": str(tmp_path / "config.toml")})


def test_profiles_are_where_the_desktop_standard_says() -> None:
    assert configuration_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/isthmus/config.toml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("出生日期<=2008-09-01", ("出生日期", "<=", "2008-09-01")),
        ("状态 = 在籍", ("状态", "=", "在籍")),
        ("a!=b=c", ("a", "!=", "b=c")),
        ("n >= -1", ("n", ">=", "-1")),
    ],
)
def test_a_comparison_is_read_as_it_is_written(text: str, parts: tuple[str, str, str]) -> None:
    assert inputs.comparison(text) == parts


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "a ~ b", "<="])
def test_what_is_no_comparison_is_a_wrong_command_line(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        inputs.comparison(text)


@given(st.text())
def test_no_text_breaks_the_reading_of_a_comparison(text: str) -> None:
    try:
        field, operator, value = inputs.comparison(text)
    except typer.BadParameter:
        return
    assert field
    assert value
    assert operator in ("!=", "<=", ">=", "=", "<", ">")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("00247", FieldType.FIELD_TYPE_STRING, "00247"),
        ("7", FieldType.FIELD_TYPE_INT64, 7),
        ("1.50", FieldType.FIELD_TYPE_DECIMAL, Decimal("1.50")),
        ("true", FieldType.FIELD_TYPE_BOOL, True),
        ("2008-09-01", FieldType.FIELD_TYPE_DATE, date(2008, 9, 1)),
    ],
)
def test_a_value_has_the_type_of_its_field(text: str, kind: FieldType.ValueType, value: object) -> None:
    assert inputs.typed(text, kind) == value


@pytest.mark.parametrize("kind", [2, 4, 1, 7, 6])
def test_a_value_of_another_type_is_refused_without_being_repeated(kind: FieldType.ValueType) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        inputs.typed("110101199003072316x", kind)
    assert "110101199003072316" not in str(caught.value)


def test_a_subject_can_come_on_standard_input_where_no_process_list_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("110101199003072316\nmore\n"))
    assert inputs.subject("cn.resident-id:-").id == "110101199003072316"
    assert inputs.subject("us.ope:00247700").scheme == "us.ope"
    for bad in ("us.ope", "us.ope:", ":1"):
        with pytest.raises(typer.BadParameter):
            inputs.subject(bad)


ENTRY: dict[str, Any] = {
    "name": "departments/civil-registry/datasets/person",
    "title": "人口基础信息",
    "sharing_class": "conditional",
    "modes": ["QUERY", "MODE_VERIFY"],
    "fields": [{"name": "姓名", "type": "string", "sensitivity": "PERSONAL"}],
}


def test_a_catalogue_entry_is_read_with_short_or_full_enum_names(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    path.write_text(json.dumps(ENTRY), encoding="utf-8")
    dataset = inputs.dataset_entry(path)
    assert dataset.sharing_class == SharingClass.SHARING_CLASS_CONDITIONAL
    assert list(dataset.modes) == [1, 2]
    assert dataset.fields[0].type == FieldType.FIELD_TYPE_STRING


@pytest.mark.parametrize("change", [{"titel": "x"}, {"sharing_class": "SECRET"}, {"fields": "x"}])
def test_an_entry_that_does_not_fit_is_refused_by_file(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "entry.json"
    path.write_text(json.dumps({**ENTRY, **change}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"entry\.json"):
        inputs.dataset_entry(path)


def test_every_reason_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Reason) - {Reason.UNSPECIFIED}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Denied(Reason.CONSENT_MISSING, "x"), 3),
        (IsthmusError(Reason.IDENTITY_INVALID, "x"), 3),
        (IsthmusError(Reason.QUOTA_EXHAUSTED, "x"), 3),
        (IsthmusError(Reason.OVERLOADED, "x"), 4),
        (Unavailable(Reason.LEDGER_UNAVAILABLE, "x"), 4),
        (IsthmusError(Reason.DEADLINE_EXCEEDED, "x"), 4),
        (NotFound("contracts/x"), 1),
        (IsthmusError(Reason.INTERNAL, "x"), 1),
    ],
)
def test_exit_codes_are_those_of_the_help(error: IsthmusError, code: int) -> None:
    assert exit_code(error) == code


def test_a_denial_is_one_block_with_rules_remedies_and_the_exchange(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reasons = (Reason.PURPOSE_NOT_ALLOWED, Reason.CONSENT_MISSING)
    error = Denied(
        reasons[0],
        "用途不在合同内\x1b[2J",
        exchange="exchanges/8",
        reasons=reasons,
        retry_after=timedelta(seconds=30),
    )
    report(error)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[0] == "denied: 用途不在合同内[2J"
    assert "  rule      PURPOSE_NOT_ALLOWED" in lines
    assert "  remedy    the person must consent, at a portal or a counter" in lines
    assert "  retry     in 30 s" in lines
    assert "  exchange  exchanges/8 (quote it when asking)" in lines


def test_an_unforeseen_fault_shows_its_kind_and_not_its_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISTHMUS_DEBUG", raising=False)
    error = KeyError("110101199003072316")
    assert exit_code_of(error) == 1
    report(error)
    printed = capsys.readouterr().err
    assert "KeyError" in printed
    assert "110101199003072316" not in printed


@given(st.text())
def test_no_text_of_another_department_can_move_the_cursor(text: str) -> None:
    cleaned = clean(text + "\x1b[2J\x9b\x07\r\n\t\u202e\u2066\u2028")
    assert not {unicodedata.category(char) for char in cleaned} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_values_are_printed_exactly() -> None:
    assert cell(Decimal("1929.00")) == "1929.00"
    assert [cell(each) for each in (None, True, 7, "王芳")] == ["", "true", "7", "王芳"]
    assert plain(b"\x00\xff") == "AP8="
    assert plain(datetime(2026, 11, 23, tzinfo=UTC)) == "2026-11-23T00:00:00+00:00"
