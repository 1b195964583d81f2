"""Reading a manifest: everything that is wrong is named at once, with its place and its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.v1 import common_pb2
from services.manifest import ManifestError
from services.manifest_file import MAX_FILE_BYTES, load_manifest

GOOD = """
[department]
name = "a"
title = "甲"
[source]
url = "sqlite:///a.db"
[[dataset]]
id = "d"
title = "数据"
table = "表"
sharing_class = "unconditional"
subject = { column = "编号", scheme = "cn.id" }
[[dataset.field]]
name = "f"
type = "string"
"""


def problems(path: Path, **environ: str) -> list[str]:
    with pytest.raises(ManifestError) as error:
        load_manifest(path, environ=environ)
    assert all(line.startswith(f"{path}: ") for line in str(error.value).splitlines())
    return [str(each) for each in error.value.problems]


def test_a_short_manifest_has_safe_defaults(manifest_file: Callable[[str], Path]) -> None:
    manifest = load_manifest(manifest_file(GOOD), environ={})
    (dataset,) = manifest.datasets
    assert dataset.name == "departments/a/datasets/d"
    assert dataset.fields[0].sensitivity == common_pb2.SENSITIVITY_SENSITIVE
    assert dataset.subject.stored == ("{}",) and dataset.fields[0].column == "f"
    assert manifest.source.url == f"sqlite:///{manifest.path.parent / 'a.db'}"
    assert manifest.server is None


def test_the_catalogue_learns_nothing_about_tables_and_columns(world: Any) -> None:
    (person, *_) = world.manifest.datasets_proto()
    assert person.subject_normalisers == ["strip-quotes", "upper"]
    assert [field.name for field in person.fields][:2] == ["name", "birth"]
    published = str(person)
    assert "姓名" not in published and "身份证号" not in published


@pytest.mark.parametrize(
    ("old", "new", "place", "remedy"),
    [
        ('name = "a"', 'name = "A_"', "[department], key name", "a-z"),
        ('name = "a"', "", "[department], key name: is missing", 'name = "…"'),
        ('table = "表"', 'tabel = "表"', 'dataset "d", key tabel: is unknown', 'did you mean "table"?'),
        ('table = "表"', "table = 3", 'dataset "d", key table: is the number 3', "text in quotes"),
        ('type = "string"', 'type = "text"', 'dataset "d", field "f", key type', "int64"),
        ('type = "string"', 'type = "string"\ntransforms = ["blur"]', 'field "f", key transforms', "mask:N"),
        ('type = "string"', 'type = "string"\ntransforms = ["bucket:5"]', "cannot be applied", "numbers"),
        ('type = "string"', 'type = "string"\nsensitivity = "high"', "key sensitivity", "personal"),
        ('"unconditional"', '"refused"', "key legal_citation: is missing for a refused", "cite the law"),
        ('"unconditional"', '"open"', "key sharing_class", "conditional"),
        ('scheme = "cn.id"', 'scheme = "CN id"', "subject, key scheme", "joined by '.'"),
        ('scheme = "cn.id"', 'scheme = "cn.id", normalise = ["rot13"]', "subject, key normalise", "pad:"),
        ('scheme = "cn.id"', 'scheme = "cn.id", stored = [\'"{}"\']', "not undone", "normalise"),
        ('scheme = "cn.id"', 'scheme = "cn.id", stored = []', "key stored: is empty", '["{}"]'),
        ("sqlite:///a.db", "sqlite://", "[source], key url: names no file", "sqlite:///path"),
        ("sqlite:///a.db", "postgresql://u:geheim@h/d", "key url: holds a password", "url_file"),
        ("sqlite:///a.db", "not a url", "key url: is no database URL", "postgresql"),
        ('url = "sqlite:///a.db"', 'url_file = "no-such-file"', "key url_file: cannot be read", "holds the"),
        ('url = "sqlite:///a.db"', 'url_env = "DB"', "names a variable that is not set", "set it"),
        ('url = "sqlite:///a.db"', "", "[source], key url: is missing", "exactly one"),
        ('url = "sqlite:///a.db"', 'url = "sqlite:///a.db"\nurl_env = "X"', "together with", "exactly one"),
        ('url = "sqlite:///a.db"', 'url = "sqlite:///a.db"\ntimezone = "Mars"', "timezone", "Asia/Shanghai"),
        ("[source]", "[source]\nmax_rows_per_subject = 0", "key max_rows_per_subject", "from 1 to"),
        ("[source]", "[source]\npool_size = true", "is true or false", "whole number"),
        (
            "[[dataset.field]]",
            '[[dataset.field]]\nname = "f"\ntype = "int64"\n[[dataset.field]]',
            "twice",
            "own",
        ),
        (
            'type = "string"',
            'type = "string"\nsource = true',
            "key source: needs the data element",
            "element =",
        ),
        ('type = "string"', 'type = "string"\nsource = "yes"', "key source: is", "true or false"),
        (
            'type = "string"',
            'type = "string"\nelement = "E1"\nsecond_source_reason = "x"',
            "key second_source_reason: belongs to a source",
            "source = true",
        ),
        (
            "[[dataset.field]]",
            (
                '[[dataset.field]]\nname = "g"\ntype = "string"\nelement = "E1"\nsource = true\n'
                '[[dataset.field]]\nelement = "E1"\nsource = true'
            ),
            'both the source of "E1"',
            "for one",
        ),
        ('title = "数据"', 'title = "数据"\nrefusal_reason = "x"', "key refusal_reason", "leave it out"),
        ("[department]", "[departement]\n[department]", "key departement: is unknown", "department"),
        ("[[dataset]]", '[server]\naddress = "x"\n[[dataset]]', "[server], key address", "host:port"),
        ('id = "d"', 'id = "d"\nmodes = ["query", "fly"]', '"fly" is not known', "verify"),
        ('id = "d"', 'id = "d"\nmodes = ["query", "query"]', "names something twice", "once"),
        ('title = "数据"', 'title = "\\u0001"', "control characters", "remove"),
        ('title = "数据"', f'title = "{"长" * 257}"', "257 characters", "at most 256"),
    ],
)
def test_each_fault_is_named_with_its_place_and_its_remedy(
    manifest_file: Callable[[str], Path], old: str, new: str, place: str, remedy: str
) -> None:
    assert old in GOOD
    found = problems(manifest_file(GOOD.replace(old, new, 1)))
    assert any(place in each and remedy in each for each in found), found
    assert "geheim" not in "".join(found)


def test_the_catalogue_learns_which_fields_are_sources(manifest_file: Callable[[str], Path]) -> None:
    keys = 'element = "DE01"\nsource = true\nsecond_source_reason = "两地各自采集"'
    manifest = load_manifest(
        manifest_file(GOOD.replace('type = "string"', f'type = "string"\n{keys}')), environ={}
    )
    (field,) = manifest.datasets_proto()[0].fields
    assert (field.element, field.source, field.second_source_reason) == ("DE01", True, "两地各自采集")


def test_a_refused_dataset_carries_its_reason_to_the_catalogue(manifest_file: Callable[[str], Path]) -> None:
    keys = 'sharing_class = "refused"\nlegal_citation = "《档案法》第二十七条"\nrefusal_reason = "尚未解密"'
    text = GOOD.replace('sharing_class = "unconditional"', keys)
    (dataset,) = load_manifest(manifest_file(text), environ={}).datasets_proto()
    assert dataset.refusal_reason == "尚未解密"


def test_all_faults_are_named_at_once(manifest_file: Callable[[str], Path]) -> None:
    text = (
        GOOD.replace('"string"', '"text"').replace("unconditional", "open").replace('title = "甲"', "x = 1")
    )
    assert len(problems(manifest_file(text))) == 4


def test_two_datasets_of_one_id_are_refused(manifest_file: Callable[[str], Path]) -> None:
    again = GOOD[GOOD.index("[[dataset]]") :]
    assert any('"d" is described twice' in each for each in problems(manifest_file(GOOD + again)))


@pytest.mark.parametrize("data", [b"\xff", b"[x", b"#" * (MAX_FILE_BYTES + 1)])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "department.toml"
    path.write_bytes(data)
    assert "the file" in problems(path)[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in problems(tmp_path / "department.toml")[0]


def test_the_url_comes_from_a_secret_file_or_the_environment(
    manifest_file: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg://u:geheim@h/d\n")
    by_file = load_manifest(
        manifest_file(GOOD.replace('url = "sqlite:///a.db"', 'url_file = "url"')), environ={}
    )
    assert "geheim" in by_file.source.url and "geheim" not in repr(by_file)
    by_name = GOOD.replace('url = "sqlite:///a.db"', 'url_env = "DB"')
    assert "b.db" in load_manifest(manifest_file(by_name), environ={"DB": "sqlite:///b.db"}).source.url


def test_the_environment_overrides_single_keys(manifest_file: Callable[[str], Path]) -> None:
    manifest = load_manifest(manifest_file(GOOD), environ={"ISTHMUS_SOURCE_MAX_ROWS_PER_SUBJECT": "7"})
    assert manifest.source.max_rows_per_subject == 7


def test_a_manifest_that_the_database_does_not_match_names_every_difference(world: Any) -> None:
    from services.source import Source

    text = (world.folder / "department.toml").read_text(encoding="utf-8")
    wrong = text.replace('column = "收入"', 'column = "收人"').replace(
        'table = "人口"\nsharing_class = "refused"', 'table = "人囗"\nsharing_class = "refused"'
    )
    path = world.folder / "wrong.toml"
    path.write_text(wrong, encoding="utf-8")
    manifest = load_manifest(path, environ={})
    source = Source(manifest.source, manifest.datasets)
    with pytest.raises(ManifestError) as error:
        source.prepare()
    source.close()
    words = str(error.value)
    assert 'dataset "person", field "income", key column' in words and 'did you mean "收入"?' in words
    assert 'dataset "sealed", key table' in words and 'did you mean "人口"?' in words
