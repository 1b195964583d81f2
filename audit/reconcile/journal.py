"""Reading a department's journal, as the department exports it (`isthmus department journal`).

One JSON document a line: a head, lines in order of their exchanges, and the number of lines at the end. It is another
party's file: everything in it is bounded and checked, and nothing of it is repeated in an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from isthmus.canonical import CanonicalError, parse_json
from isthmus.errors import InvalidArgument
from isthmus.ids import begun_at

MAX_LINE_BYTES: Final = 1 << 20
_VERSION: Final = 1
_TEXTS: Final = (
    "exchange",
    "served_at",
    "consumer",
    "system",
    "contract",
    "terms_digest",
    "dataset",
    "purpose",
    "mode",
    "person",
    "receipt",
)
_NUMBERS: Final = ("served", "refused", "row_count")


class JournalError(ValueError):
    """A journal cannot be read or compared. The message names the line and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class JournalEnding:
    """How a stream ended, as the department saw it: COMPLETE, CANCELLED or FAILED, and what it had sent by then.
    `receipt` is the SHA-256 of its receipt, hex; empty where there is none, or none was kept.
    """

    how: str
    row_count: int
    byte_count: int
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """What a department says that it did for an exchange.

    Attributes:
        department: `departments/{department}` whose journal this is.
        begun: when the exchange began, as its name says.
        person: the SHA-256, hex, of the subject's token; empty where there was not exactly one.
        receipt: the SHA-256, hex, of the receipt; empty for a stream, or where none was kept.
        served, refused: how many subjects were answered, and how many were not.
        ending: of a stream that has ended.
    """

    department: str
    begun: datetime
    exchange: str
    served_at: str
    consumer: str
    system: str
    contract: str
    terms_digest: str
    dataset: str
    purpose: str
    mode: str
    person: str
    receipt: str
    served: int
    refused: int
    row_count: int
    fields: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    ending: JournalEnding | None


def read_journal(
    documents: Iterable[bytes], department: str, *, since: datetime | None, until: datetime | None
) -> Iterator[JournalLine]:
    """Yields the lines of a journal of which the exchange began in a time, in the order of their exchanges.

    Args:
        documents: as the export has them, with or without line breaks.
        department: `departments/{department}` whose journal it must be.
        since: aware; from the beginning unless given.
        until: aware, left out itself; to the end unless given.

    Raises:
        JournalError: it is another department's, or covers less than this time, is cut off, out of order, or no journal.
    """
    lines = enumerate(documents, 1)
    _require_head(_parse(next(lines, (1, b""))), department, since, until)
    before, count = "", 0
    for number, data in lines:
        document = _parse((number, data))
        if document.keys() == {"lines"}:
            _require_end(document["lines"], count, next(lines, None))
            return
        line = _line(document, department, number)
        if line.exchange <= before:
            raise JournalError(
                f"line {number} of the journal of {department} is out of order, or the second of its exchange"
            )
        before, count = line.exchange, count + 1
        if (since is None or line.begun >= since) and (until is None or line.begun < until):
            yield line
    raise JournalError(f"the journal of {department} is cut off: its last line must say how many there are")


def _parse(numbered: tuple[int, bytes]) -> Mapping[str, Any]:
    number, data = numbered
    try:
        document = parse_json(data, max_bytes=MAX_LINE_BYTES)
    except (CanonicalError, TypeError) as error:
        raise JournalError(f"line {number} of the journal is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise JournalError(f"line {number} of the journal is not a JSON object")
    return document


def _require_head(
    head: Mapping[str, Any], department: str, since: datetime | None, until: datetime | None
) -> None:
    if head.get("isthmus_journal") != _VERSION:
        raise JournalError(
            "this is no exported journal of version 1; `isthmus department journal --out FILE` writes one"
        )
    if head.get("department") != department:
        raise JournalError(f"the journal is not that of {department}")
    try:
        starts = datetime.fromisoformat(head["since"]) if head.get("since") else None
        ends = datetime.fromisoformat(head["until"]) if head.get("until") else None
        short = (starts is not None and (since is None or since < starts)) or (
            ends is not None and (until is None or until > ends)
        )
    except (TypeError, ValueError):
        raise JournalError("the journal's head does not say which time it covers") from None
    if short:
        words = f"from {head.get('since') or 'its beginning'} to {head.get('until') or 'its end'}"
        raise JournalError(
            f"the journal of {department} was exported {words}; compare no more than that with --since and --until"
        )


def _require_end(stated: object, count: int, more: object) -> None:
    if stated != count or more is not None:
        raise JournalError(f"the journal says that it ends with another number of lines than its {count}")


def _line(document: Mapping[str, Any], department: str, number: int) -> JournalLine:
    try:
        texts = {name: _typed(document[name], str) for name in _TEXTS}
        numbers = {name: _count(document[name]) for name in _NUMBERS}
        ending = document.get("ending")
        return JournalLine(
            department=department,
            begun=begun_at(texts["exchange"]),
            **texts,
            served=numbers["served"],
            refused=numbers["refused"],
            row_count=numbers["row_count"],
            fields=tuple((_typed(name, str), _typed(how, str)) for name, how in document["fields"]),
            refusals=tuple(_typed(each, str) for each in document["refusals"]),
            ending=None if ending is None else _ending(ending),
        )
    except (KeyError, TypeError, ValueError, InvalidArgument):
        raise JournalError(f"line {number} of the journal of {department} is no line of a journal") from None


def _ending(document: Mapping[str, Any]) -> JournalEnding:
    rows, size = _count(document["row_count"]), _count(document["byte_count"])
    return JournalEnding(_typed(document["how"], str), rows, size, _typed(document["receipt"], str))


def _count(value: object) -> int:
    number: int = _typed(value, int)
    if number < 0:
        raise ValueError
    return number


def _typed(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value
