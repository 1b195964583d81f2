"""Writing a first manifest from what a database says about itself, for a person to finish.

Types are guessed from the columns and a sample of their values; what only the department can decide is marked
DECIDE. The draft reads values to guess from, and writes none of them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from isthmus.v1.common_pb2 import (
    FIELD_TYPE_DATE,
    FIELD_TYPE_DECIMAL,
    FIELD_TYPE_INT64,
    FIELD_TYPE_TIMESTAMP,
    FieldType,
)
from services.engine import make_engine, start_clock
from services.manifest import SourceSettings, type_name
from services.manifest_datasets import MAX_FIELDS
from services.manifest_file import MAX_DATASETS
from services.reflection import reflect_table, table_names
from services.source import guarded
from services.tables import nearest, quoted
from services.values import UnfitValue, reader

SAMPLE: Final = 500
_MAX_NAME: Final = 128
_DECIDE: Final = "DECIDE"

_IDENTIFIER: Final = re.compile(
    r"身份证|证件号|社会信用代码|编号|\bssn\b|opeid|ope id|unitid|identity|\b(id|no|code|number|num)\b\.?$|_id$|id$",
    re.IGNORECASE,
)
_PERSONAL: Final = re.compile(
    r"姓名|出生|住址|地址|电话|手机|邮箱|身份证|护照|name|first|last|birth|addr|phone|mail|ssn|passport|maiden|lat|lon",
    re.IGNORECASE,
)
_SENSITIVE: Final = re.compile(
    r"病|诊断|民族|宗教|收入|银行|账号|race|ethnic|relig|income|bank|diagnos|condition|medic|death|disab",
    re.IGNORECASE,
)
_BY_SQL_TYPE: Final[Sequence[tuple[type[sa.types.TypeEngine[Any]], str]]] = (
    (sa.Boolean, "bool"),
    (sa.Integer, "int64"),
    (sa.Float, "double"),
    (sa.Numeric, "decimal"),
    (sa.DateTime, "timestamp"),
    (sa.Date, "date"),
    (sa.LargeBinary, "bytes"),
)
_BY_VALUE: Final[Sequence[FieldType.ValueType]] = (
    FIELD_TYPE_DATE,
    FIELD_TYPE_TIMESTAMP,
    FIELD_TYPE_INT64,
    FIELD_TYPE_DECIMAL,
)
_DATE_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_HEAD: Final = """\
# The manifest of one department's node. Lines marked DECIDE need a decision of yours; the rest is a proposal.
# `isthmus dataset check` holds this file against the database; `isthmus department --config` serves it.

[department]
name = "my-department"        # DECIDE: the name in departments/<name>: a-z, 0-9 and '-'
title = "My department"       # DECIDE: what people call it, in any script

[server]                      # DECIDE: who the node is and where it listens; paths start at this file
trust_domain = "data.example"
address = "0.0.0.0:7443"
certificate = "pki/node.pem"  # a certificate of /department/<name>/node/<n>
key = "pki/node.key"
ca = "pki/ca.pem"
# hash_key = "hash.key"       # 64 hexadecimal digits; needed when a contract releases a field as `hash`
# metrics = "127.0.0.1:9464"

[source]
{source}
{schema}# timezone = "Asia/Shanghai"  # of stored times that name none; UTC unless given
# max_rows_per_subject = 1000
# max_rows_per_answer = 50000
# statement_timeout_seconds = 10

[journal]
url = "sqlite:///journal.db"  # the department's own record of every exchange it answered
"""


class DraftError(ValueError):
    """Nothing can be drafted. The message says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOptions:
    """What to draft.

    Args:
        url: the database.
        source_line: the line of [source] that names it in the draft, without a password.
        tables: the tables and views; all when empty.
        schema: their schema; the database's default when empty.
    """

    url: str
    source_line: str
    tables: tuple[str, ...] = ()
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a manifest, and the tables that are in it."""

    text: str
    tables: tuple[str, ...]


def draft_manifest(options: DraftOptions) -> Draft:
    """Reflects a database into a manifest that loads, and that a person has to finish.

    Raises:
        DraftError: there is no such table, or none at all.
        SourceUnavailable: the database cannot be reached.
        ValueError: its driver is not installed.
    """
    engine = make_engine(SourceSettings(url=options.url))
    try:
        with guarded(), engine.connect() as connection:
            names = _chosen(table_names(connection, options.schema), options.tables)
            used: set[str] = set()
            parts = [_dataset(_Described.of(connection, name, options.schema), used) for name in names]
    finally:
        engine.dispose()
    schema = f"schema = {_toml(options.schema)}\n" if options.schema else ""
    return Draft(_HEAD.format(source=options.source_line, schema=schema) + "".join(parts), tuple(names))


def _chosen(known: list[str], asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise DraftError(f"there is no table or view {quoted(name)}; {nearest(name, known)}")
    names = list(dict.fromkeys(asked)) or known
    if not names:
        raise DraftError("the database has no tables; name another database or --schema")
    if len(names) > MAX_DATASETS:
        raise DraftError(f"the database has {len(names)} tables; name at most {MAX_DATASETS} with --table")
    return names


@dataclass(frozen=True, slots=True)
class _Described:
    """A table, a sample of each column, and what the database says about its keys."""

    table: sa.Table
    samples: dict[str, Sequence[Any]]
    indexed: tuple[str, ...]

    @classmethod
    def of(cls, connection: sa.Connection, name: str, schema: str) -> "_Described":
        start_clock(connection)
        table = reflect_table(connection, name, schema)
        if table is None:
            raise DraftError(f"the table {quoted(name)} has gone; try again")
        samples = {
            column.name: connection.execute(sa.select(column).where(column.is_not(None)).limit(SAMPLE))
            .scalars()
            .all()
            for column in table.columns
        }
        keys = [list(table.primary_key.columns)[:1]] + [list(index.columns)[:1] for index in table.indexes]
        return cls(table, samples, tuple(column.name for key in keys for column in key))

    def subject(self) -> str:
        """The likeliest subject column: one that is named and keyed like one, then either, then the first."""
        names = [column.name for column in self.table.columns]
        named = [name for name in names if _IDENTIFIER.search(name)]
        for candidates in (
            [name for name in named if name in self.indexed],
            named,
            list(self.indexed),
            names,
        ):
            if candidates:
                return candidates[0]
        return ""


def _dataset(described: _Described, used: set[str]) -> str:
    table = described.table
    usable = [column for column in table.columns if _usable(column.name)]
    if not usable:
        return f"\n# {_comment(table.name)}: no column has a name that a field can have.\n"
    subject = described.subject()
    lines = [
        "",
        "[[dataset]]",
        f"id = {_toml(_slug(table.name, used))}  # {_DECIDE}: the name in datasets/<id>: a-z, 0-9 and '-'",
        f"title = {_toml(table.name)}",
        'description = ""',
        f"table = {_toml(table.name)}",
        f'sharing_class = "conditional"  # {_DECIDE}: unconditional, conditional or refused (无条件/有条件/不予共享)',
        'legal_citation = ""  # the law behind the class; required when refused',
        "conditions = []  # 使用条件: what a conditional dataset asks of its users; a refusal may cite only these",
        "purposes = []  # the purposes it may serve; empty: any that a contract agrees",
        'update_frequency = ""  # for example "daily"',
        'grade = ""  # in your own classification',
        'modes = ["query", "verify", "batch"]',
        *_subject_lines(described, subject),
    ]
    for column in usable[:MAX_FIELDS]:
        lines += _field_lines(column, described.samples[column.name])
    lines += [
        f"# left out: {_comment(column.name)} (its name cannot be a field's)"
        for column in table.columns
        if not _usable(column.name)
    ]
    return "\n".join(lines) + "\n"


def _subject_lines(described: _Described, column: str) -> list[str]:
    sample = [str(value) for value in described.samples[column]]
    in_quotes = sum(value.startswith('"') and value.endswith('"') for value in sample)
    normalise = '["strip-quotes"]' if in_quotes else "[]"
    stored = ["{}"] if in_quotes < len(sample) or not sample else []
    if in_quotes:
        stored.append('"{}"')
    keyed = "indexed" if column in described.indexed else "NOT indexed: lookups would read the whole table"
    others = [
        each.name
        for each in described.table.columns
        if each.name != column and (each.name in described.indexed or _IDENTIFIER.search(each.name))
    ]
    also = f"; other candidates: {_comment(', '.join(others[:5]))}" if others else ""
    return [
        "",
        "[dataset.subject]",
        f"column = {_toml(column)}  # {_DECIDE}: the column that says whom a row is about ({keyed}{also})",
        f'scheme = "local.id"  # {_DECIDE}: the identifier scheme, for example cn.resident-id',
        f"normalise = {normalise}  # strip, strip-quotes, upper, lower, digits, remove-dashes, nfkc, pad:N",
        f"stored = [{', '.join(_toml_template(each) for each in stored)}]  # how the column writes the identifier {{}}",
    ]


def _field_lines(column: sa.Column[Any], sample: Sequence[Any]) -> list[str]:
    sensitivity = "internal"
    if _SENSITIVE.search(column.name):
        sensitivity = "sensitive"
    elif _PERSONAL.search(column.name):
        sensitivity = "personal"
    return [
        "",
        "[[dataset.field]]",
        f"name = {_toml(column.name)}",
        f"type = {_toml(_guess(column, sample))}{'' if sample else '  # guessed without a value to look at'}",
        f"sensitivity = {_toml(sensitivity)}  # {_DECIDE}: public, internal, personal or sensitive",
        "transforms = []  # the mildest allowed: plain, mask:N, hash, bucket:N|year|month, omit; empty: plain",
    ]


def _guess(column: sa.Column[Any], sample: Sequence[Any]) -> str:
    declared = next((name for kind, name in _BY_SQL_TYPE if isinstance(column.type, kind)), "")
    if declared:
        return declared if _all_fit(sample, FieldType.Value(f"FIELD_TYPE_{declared.upper()}")) else "string"
    texts = [value for value in sample if isinstance(value, str)]
    if not texts or len(texts) != len(sample):
        return "string"
    for kind in _BY_VALUE:
        if all(_GUESSABLE[kind](text) for text in texts) and _all_fit(texts, kind):
            return type_name(kind)
    return "string"


def _all_fit(sample: Iterable[Any], kind: FieldType.ValueType) -> bool:
    read = reader(kind)
    try:
        for value in sample:
            read(value)
    except UnfitValue:
        return False
    return True


def _is_plain_number(text: str) -> bool:
    # A number with a leading zero is a code: 00247700 and 110101 differ from numbers in meaning.
    return re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) is not None


def _is_instant(text: str) -> bool:
    try:
        return len(text) > 10 and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


_GUESSABLE: Final[dict[FieldType.ValueType, Callable[[str], bool]]] = {
    FIELD_TYPE_DATE: lambda text: _DATE_FORM.fullmatch(text) is not None,
    FIELD_TYPE_TIMESTAMP: _is_instant,
    FIELD_TYPE_INT64: _is_plain_number,
    FIELD_TYPE_DECIMAL: lambda text: (
        re.fullmatch(r"[$¥￥]?-?[0-9,]*\.[0-9]+|" r"-?(0|[1-9][0-9]*)", text) is not None
    ),
}


def _slug(name: str, used: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "dataset"
    slug, number = base, 2
    while slug in used:
        slug, number = f"{base}-{number}", number + 1
    used.add(slug)
    return slug


def _usable(name: str) -> bool:
    return 1 <= len(name) <= _MAX_NAME and bool(name.strip()) and not re.search(r"[\x00-\x1f\x7f]", name)


def _toml(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_template(template: str) -> str:
    return f"'{template}'"


def _comment(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)
