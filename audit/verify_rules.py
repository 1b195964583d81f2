"""What the records must not say about each other: the fences, checked again from the log alone."""

import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Self

from audit.damage import Damaged, DamageKind
from audit.record import AccessRecord, Kind

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
        self._any_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def check(self, index: int, record: AccessRecord) -> None:
        """Return only if the record agrees with all that came before it; records come in order.

        Raises:
            Damaged: a second decision about an exchange, or a release behind a fence.
        """
        if record.kind is Kind.CONTROL and record.grpc_code in ("", "OK") and not record.reasons:
            self._control(index, record)
        if record.kind is Kind.DECISION:
            self._decide(index, record.exchange)
            if record.decision == "ALLOW":
                self._release(index, record)

    def _control(self, index: int, record: AccessRecord) -> None:
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
        if not self._any_closed:
            return
        for resource in _depends_on(record):
            if found := self._closed(resource):
                raise Damaged(
                    DamageKind.RULE,
                    f"record {index}",
                    f"it allows what {found[1]} of {resource} had ended in record {found[0]}",
                )

    def _closed(self, resource: str) -> tuple[int, str] | None:
        query = "SELECT idx, action FROM closed WHERE resource = ?"
        found: tuple[int, str] | None = self._scratch.execute(query, (resource,)).fetchone()
        return found


def _depends_on(record: AccessRecord) -> Iterator[str]:
    yield from (str(consent["name"]) for consent in record.consents)
    yield record.contract
    yield record.contract.partition("@")[0]
    yield record.dataset
    yield f"certificates/{record.certificate}"
