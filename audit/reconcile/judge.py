"""One exchange, as the log and as a department's journal tell it. No I/O."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from audit.reconcile.finding import Difference, Finding
from audit.reconcile.journal import JournalEnding, JournalLine
from audit.reconcile.log import Logged
from audit.record import AccessRecord, StreamEnding
from isthmus.canonical import sha256_hex
from isthmus.identity import Identity, IdentityError

_STREAM: Final = "STREAM"
_BATCH: Final = "BATCH"
_SAME: Final = ("consumer", "contract", "terms_digest", "dataset", "purpose", "mode")

DistinctRows = Callable[[int], int | None]
"""How many rows the batch at a position released, or None where its lines were erased."""


def unrecorded(lines: Sequence[JournalLine], *, young: bool) -> Finding:
    """The finding about lines of one exchange of which the log has no record.

    Args:
        lines: of the exchange; several of a batch.
        young: whether the exchange may still be under way.
    """
    first, served = lines[0], any(_served(each) for each in lines)
    if young:
        words = "it is too young to be judged; compare again with a later copy of the log"
        return _about(first, Difference.UNDER_WAY, words)
    if served:
        rows = sum(each.row_count for each in lines)
        words = f"the department served {rows} rows to {first.system}, and the log has no record of it"
        return _about(first, Difference.SERVED_UNRECORDED, words)
    words = f"the department refused it ({_refusals(lines)}), and the log has no record of it"
    return _about(first, Difference.REFUSED_UNRECORDED, words)


def unserved(logged: Logged, *, young: bool) -> Finding:
    """The finding about a release of which the department's journal has no line."""
    if young:
        words = "it is too young to be judged; compare again with a later copy of the journal"
        return _of(logged, Difference.UNDER_WAY, words)
    return _of(logged, Difference.RELEASED_UNSERVED, "the log records a release, and the journal has no line")


def compare(
    logged: Logged, lines: Sequence[JournalLine], distinct: DistinctRows, *, young: bool
) -> Iterator[Finding]:
    """Yields what differs between the log and the lines that are about the same exchange.

    Args:
        logged: what the log says.
        lines: at least one; several of a batch that was asked for in parts.
        distinct: reads the rows of a batch.
        young: whether a stream may still be under way.

    Raises:
        RecordError, LineError: what the log holds is damaged.
    """
    record, first = logged.record(), lines[0]
    if (facts := _facts(record, lines)) and record.provider:
        yield _of(logged, Difference.FACTS_DIFFER, f"log and journal differ in {', '.join(facts)}", first)
        return
    if record.decision != "ALLOW":
        if any(_served(each) for each in lines) or first.mode == _STREAM:
            yield _of(logged, Difference.WITHHELD, _reasons(record), first)
        return
    if first.mode == _STREAM:
        yield from _stream(logged, first, young=young)
    elif not any(_served(each) for each in lines):
        words = f"the log records a release of what the department refused ({_refusals(lines)})"
        yield _of(logged, Difference.RELEASED_UNSERVED, words, first)
    elif (found := _rows(logged, record, lines, distinct)) is not None:
        yield found


def _facts(record: AccessRecord, lines: Sequence[JournalLine]) -> list[str]:
    """The names of what differs. What a denial leaves out of its record is no difference."""
    released, found = record.decision == "ALLOW", dict[str, None]()
    for line in lines:
        told = [name for name in _SAME if released or getattr(record, name)]
        found |= dict.fromkeys(name for name in told if getattr(record, name) != getattr(line, name))
        if record.provider != line.department:
            found["provider"] = None
        if _system(record.caller) != line.system:
            found["system"] = None
        if released and tuple((each["name"], each["transform"]) for each in record.fields) != line.fields:
            found["fields"] = None
        if line.person and record.subject_token and sha256_hex(record.subject_token.encode()) != line.person:
            found["person"] = None
    # A batch in several parts has several receipts, and the log one digest over all of them.
    if (
        released
        and len(lines) == 1
        and lines[0].receipt
        and lines[0].receipt != record.provider_receipt_digest
    ):
        found["receipt"] = None
    return list(found)


def _rows(
    logged: Logged, record: AccessRecord, lines: Sequence[JournalLine], distinct: DistinctRows
) -> Finding | None:
    served, released = sum(each.row_count for each in lines), record.row_count
    if served == released:
        return None
    if record.mode == _BATCH:
        counted = distinct(logged.index)
        if counted is None:
            words = f"the log says {released} rows and the journal {served}; the lines that would explain it are erased"
            return _of(logged, Difference.UNJUDGED, words, lines[0])
        released = counted
        if released == served:
            return None
        if released < served:
            words = f"{released} of {served} rows were released; the record's lines say why"
            return _of(logged, Difference.WITHHELD_IN_PART, words, lines[0])
    words = f"log and journal differ in rows: {released} were released, {served} were served"
    return _of(logged, Difference.FACTS_DIFFER, words, lines[0])


def _stream(logged: Logged, line: JournalLine, *, young: bool) -> Iterator[Finding]:
    end, ending = logged.ending(), line.ending
    if end is None:
        if not young:
            sent = f"; the department sent {ending.row_count} rows" if ending else ""
            words = f"the log has no end of this stream: it was cut off, or is under way{sent}"
            yield _of(logged, Difference.CUT_OFF, words, line)
        return
    if differing := _endings(end, ending):
        yield _of(logged, Difference.END_DIFFERS, f"log and journal differ in {', '.join(differing)}", line)
    elif end.action != StreamEnding.COMPLETE:
        rows = (
            f"{end.row_count} of {ending.row_count if ending else 'an unknown number of'} rows were handed on"
        )
        yield _of(logged, Difference.WITHHELD_IN_PART, f"{rows}: {end.action}, {_reasons(end)}", line)


def _endings(end: AccessRecord, ending: JournalEnding | None) -> list[str]:
    complete = end.action == StreamEnding.COMPLETE
    if ending is None:
        # Its ending is durable before its receipt leaves, so a complete stream has one. Another may have crashed.
        return ["the ending, which the journal has not"] if complete else []
    found = []
    if complete and ending.how != StreamEnding.COMPLETE:
        found.append(f"how it ended: {end.action} and {ending.how}")
    for name, logged, sent in (
        ("rows", end.row_count, ending.row_count),
        ("bytes", end.byte_count, ending.byte_count),
    ):
        if logged > sent or (complete and logged != sent):
            found.append(f"{name}: {logged} were handed on, {sent} were sent")
    if complete and ending.receipt and ending.receipt != end.provider_receipt_digest:
        found.append("receipt")
    return found


def _served(line: JournalLine) -> bool:
    return line.served > 0 or line.mode == _STREAM


def _refusals(lines: Sequence[JournalLine]) -> str:
    return ", ".join(dict.fromkeys(each for line in lines for each in line.refusals)) or "no reason"


def _reasons(record: AccessRecord) -> str:
    return ", ".join(record.reasons) or record.decision


def _system(caller: str) -> str:
    domain = caller.removeprefix("spiffe://").partition("/")[0]
    try:
        return Identity.parse(caller, trust_domain=domain).resource
    except IdentityError:
        return ""


def _about(line: JournalLine, difference: Difference, words: str) -> Finding:
    return Finding(difference, line.exchange, line.department, None, line.served_at, words)


def _of(logged: Logged, difference: Difference, words: str, line: JournalLine | None = None) -> Finding:
    department = line.department if line is not None else logged.provider
    served_at = line.served_at if line is not None else ""
    return Finding(difference, logged.exchange, department, logged.index, served_at, words)
