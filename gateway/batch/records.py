"""The record of a batch: one for all of it, with a root over a line for each subject (`audit.batch.lines`)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from audit.batch.lines import BatchLines
from audit.record import AccessRecord
from gateway.batch.asked import BatchAsked
from gateway.batch.part import Found
from gateway.batch.people import NOBODY
from gateway.batch.state import State
from gateway.batch.verdict import NO_IDENTIFIER, Verdict, counts
from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange
from gateway.exchange.records import decision_entry
from gateway.exchange.state import Rules

_NONCE_DIGITS: Final = 32
_INDEX_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about each person of a batch, by number; `found` is what is released of whom is allowed.

    `each` says whether the caller is told of each subject, rather than that all of the batch was refused.
    """

    verdicts: Sequence[Verdict]
    found: Mapping[int, Found]
    each: bool = True

    def of(self, place: int) -> Verdict:
        """The verdict about a subject, by the number of its person."""
        return NO_IDENTIFIER if place == NOBODY else self.verdicts[place]


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """A record, the erasable detail that belongs to it, and its lines; none where no state could be read."""

    record: AccessRecord
    detail: dict[str, str]
    lines: BatchLines | None


def batch_entry(
    batch: BatchAsked,
    exchange: Exchange,
    ending: Ending,
    *,
    state: State | None,
    decided: Decided | None,
    rules: Rules,
    now: datetime,
) -> BatchEntry:
    """Returns the record of how a batch ended.

    Args:
        batch: what was asked.
        exchange: the batch as an exchange.
        ending: how it ended as a whole.
        state: what was read for the decision; None when nothing could be read.
        decided: what was decided about each person of `state`.
        rules: the policy that decided, and the keys that close the commitments.
        now: the time of the transaction.
    """
    view = state.view if state is not None else None
    entry = decision_entry(exchange, view, ending, rules=rules, now=now)
    record = replace(entry.record, subject_token="", subject_count=len(batch.subjects))
    if not record.provider and batch.named_in(record.contract):
        record = replace(record, contract="")
    if state is None or decided is None:
        return BatchEntry(record, entry.detail, None)
    salt = bytes.fromhex(entry.detail["commitment_salt"].partition(".")[2])
    places, released = state.people.places, decided.found
    lines = _lines(state, decided, rules.tokens.nonce(b"line" + salt))
    each = [decided.of(place) for place in places]
    answered = [released[place] for place in places if place in released]
    return BatchEntry(
        replace(
            record,
            subjects_root=lines.root,
            outcomes=counts(each),
            row_count=sum(found.rows for found in answered),
            byte_count=sum(found.size for found in answered),
            grpc_code="OK" if decided.each else record.grpc_code,
        ),
        entry.detail,
        lines,
    )


def content_of(places: Sequence[int], found: Mapping[int, Found]) -> bytes:
    """What the commitment to the answer is over: the SHA-256 of the provider's bytes about each subject answered."""
    return b"".join([found[place].digest for place in places if place in found])


def _lines(state: State, decided: Decided, key: bytes) -> BatchLines:
    persons, given = state.people.persons, state.given
    nonces = secrets.token_bytes(len(state.people.places) * _NONCE_DIGITS // 2).hex()
    lines: list[bytes] = []
    for index, place in enumerate(state.people.places):
        nonce = nonces[index * _NONCE_DIGITS : (index + 1) * _NONCE_DIGITS]
        if place == NOBODY:
            lines.append(_refused("", NO_IDENTIFIER, index, nonce, token=""))
            continue
        mine, token = given[place] if given else None, persons[place].token
        consent = f'"consent":{{"name":"{mine.name}","position":{mine.position}}},' if mine else ""
        found = decided.found.get(place)
        if found is None:
            lines.append(_refused(consent, decided.verdicts[place], index, nonce, token=token))
            continue
        digest = sha256(key + index.to_bytes(_INDEX_BYTES) + found.digest).hexdigest()
        rows = f'"rows":{found.rows},' if found.rows else ""
        line = (
            f'{{{consent}"decision":"ALLOW","digest":"{digest}","index":{index},"nonce":"{nonce}",'
            f'{rows}"token":"{token}"}}'
        )
        lines.append(line.encode())
    return BatchLines.of(lines, {person.token for person in persons})


def _refused(consent: str, verdict: Verdict, index: int, nonce: str, *, token: str) -> bytes:
    """The line of a subject that is refused; reasons are names without quotes or signs."""
    reasons = ",".join([f'"{reason.name}"' for reason in verdict.reasons])
    person = f',"token":"{token}"' if token else ""
    head = f'{{{consent}"decision":"{verdict.decision}","index":{index},"nonce":"{nonce}"'
    return f'{head},"reasons":[{reasons}]{person}}}'.encode()
