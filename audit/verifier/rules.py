"""What the records must not say about each other: the fences, checked again from the log alone."""

import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Self

from audit.batch.lines import Line
from audit.record import AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.stream import StreamRules

_FINAL: Final = "final"
_CLOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "WithdrawConsent": _FINAL,
        "RevokeConsent": _FINAL,
        "InvalidateConsent": _FINAL,
        "PauseConsent": "",
        "SuspendContract": "",
        "TerminateContract": _FINAL,
        "RetireDataset": "",
        "DenyCertificate": _FINAL,
    }
)
"""Control actions after which nothing may be released that depends on the resource."""
_OPENS: Final = frozenset({"ResumeConsent", "ResumeContract", "PublishDataset"})


class Rules:
    """Remembers what was closed and decided; holds it on disk, so that a long log does not fill the memory."""

    def __init__(self) -> None:
        self._scratch = sqlite3.connect("", isolation_level=None)  # A private file, deleted when closed.
        self._scratch.execute("PRAGMA journal_mode = OFF")
        self._scratch.execute("CREATE TABLE decided (exchange TEXT PRIMARY KEY, idx INTEGER) WITHOUT ROWID")
        self._scratch.execute(
            "CREATE TABLE closed (resource TEXT PRIMARY KEY, idx INTEGER, action TEXT) WITHOUT ROWID"
        )
        self._scratch.execute(
            "CREATE TABLE signed (contract TEXT, department TEXT, digest TEXT, PRIMARY KEY (contract, department)) "
            "WITHOUT ROWID"
        )
        self._scratch.execute("CREATE TABLE granted (consent TEXT PRIMARY KEY, contract TEXT) WITHOUT ROWID")
        self._any_closed = False
        self._streams = StreamRules(self._scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def check(self, index: int, record: AccessRecord) -> None:
        """Return only if the record agrees with all that came before it; records come in order.

        Raises:
            Damaged: a second decision about an exchange, a release behind a fence, or one of which the log does not
                show that both departments signed the contract and the person consented.
        """
        if record.kind is Kind.CONTROL and record.grpc_code in ("", "OK") and not record.reasons:
            self._control(index, record)
        self._streams.check(index, record)
        if record.kind is Kind.DECISION:
            self._decide(index, record.exchange)
            if record.decision == "ALLOW":
                self._release(index, record)

    def check_line(self, index: int, record: AccessRecord, line: Line) -> None:
        """Return only if what a batch released about one subject agrees with all that came before it.

        Args:
            index: of the batch's record, which `check` has seen.
            record: the batch's record.
            line: one of its lines.

        Raises:
            Damaged: as `check`.
        """
        if line.decision != "ALLOW":
            return
        where = f"line {line.index} of record {index}"
        if not line.consent:
            if record.legal_basis == "CONSENT" and not record.emergency:
                words = "its legal basis is consent, and it names neither one nor an emergency"
                raise Damaged(DamageKind.RULE, where, words)
            return
        name, position = str(line.consent.get("name")), line.consent.get("position")
        if not isinstance(position, int) or position >= index:
            raise Damaged(DamageKind.RULE, where, f"it rests on {name} as it was later")
        self._require_granted(where, name, record.contract)
        if self._any_closed and (found := self._closed(name)):
            words = f"it allows what {found[1]} of {name} had ended in record {found[0]}"
            raise Damaged(DamageKind.RULE, where, words)

    def _control(self, index: int, record: AccessRecord) -> None:
        if record.action == "SignContract":
            row = (record.resource, _department(record.caller), record.terms_digest)
            self._scratch.execute("INSERT OR IGNORE INTO signed VALUES (?, ?, ?)", row)
        elif record.action == "GrantConsent":
            self._scratch.execute(
                "INSERT OR IGNORE INTO granted VALUES (?, ?)", (record.resource, record.contract)
            )
        if record.action in _CLOSES:
            self._any_closed = True
            final = _CLOSES[record.action] == _FINAL
            sql = "INSERT INTO closed VALUES (?, ?, ?) ON CONFLICT DO "
            sql += "UPDATE SET idx = excluded.idx, action = excluded.action" if final else "NOTHING"
            self._scratch.execute(sql, (record.resource, index, record.action))
        elif record.action in _OPENS:
            found = self._closed(record.resource)
            if found and _CLOSES[found[1]] != _FINAL:
                self._scratch.execute("DELETE FROM closed WHERE resource = ?", (record.resource,))

    def _decide(self, index: int, exchange: str) -> None:
        try:
            self._scratch.execute("INSERT INTO decided VALUES (?, ?)", (exchange, index))
        except sqlite3.IntegrityError:
            query = "SELECT idx FROM decided WHERE exchange = ?"
            (first,) = self._scratch.execute(query, (exchange,)).fetchone()
            raise Damaged(
                DamageKind.DUPLICATE, f"record {index}", f"{exchange} was decided before, in record {first}"
            ) from None

    def _release(self, index: int, record: AccessRecord) -> None:
        for consent in record.consents:
            position = consent.get("position")
            if not isinstance(position, int) or position >= index:
                raise Damaged(
                    DamageKind.RULE, f"record {index}", f"it rests on {consent.get('name')} as it was later"
                )
        consented = record.consents or record.emergency
        if record.legal_basis == "CONSENT" and record.subject_token and not consented:
            raise Damaged(
                DamageKind.RULE,
                f"record {index}",
                "its legal basis is consent, and it names neither one nor an emergency",
            )
        self._require_founded(index, record)
        if not self._any_closed:
            return
        for resource in _depends_on(record):
            if found := self._closed(resource):
                raise Damaged(
                    DamageKind.RULE,
                    f"record {index}",
                    f"it allows what {found[1]} of {resource} had ended in record {found[0]}",
                )

    def _require_founded(self, index: int, record: AccessRecord) -> None:
        query = "SELECT department FROM signed WHERE contract = ? AND digest = ?"
        found = self._scratch.execute(query, (record.contract, record.terms_digest))
        for party in sorted({record.provider, record.consumer} - {department for (department,) in found}):
            words = (
                f"it rests on {record.contract}, and no earlier record shows that {party} signed these terms"
            )
            raise Damaged(DamageKind.UNFOUNDED, f"record {index}", words)
        for consent in record.consents:
            self._require_granted(f"record {index}", str(consent.get("name")), record.contract)

    def _require_granted(self, where: str, name: str, contract: str) -> None:
        query = "SELECT 1 FROM granted WHERE consent = ? AND contract = ?"
        if self._scratch.execute(query, (name, contract)).fetchone() is None:
            words = f"it rests on {name}, and no earlier record shows that it was given to {contract}"
            raise Damaged(DamageKind.UNFOUNDED, where, words)

    def _closed(self, resource: str) -> tuple[int, str] | None:
        query = "SELECT idx, action FROM closed WHERE resource = ?"
        found: tuple[int, str] | None = self._scratch.execute(query, (resource,)).fetchone()
        return found


def _department(caller: str) -> str:
    return f"departments/{caller.partition('/department/')[2].partition('/')[0]}"


def _depends_on(record: AccessRecord) -> Iterator[str]:
    yield from (str(consent["name"]) for consent in record.consents)
    yield record.contract
    yield record.contract.partition("@")[0]
    yield record.dataset
    yield f"certificates/{record.certificate}"
