"""What the records must not say about each other: the fences, checked again from the log alone."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from audit.batch.lines import Line
from audit.record import AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.facts import Basis, Consents, Facts, Key, Release, Whole, basis_of, key_of, name_of
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


_REMEMBERED: Final = 20_000
_TABLES: Final = (
    "decided (exchange BLOB PRIMARY KEY, idx INTEGER)",
    "closed (resource TEXT PRIMARY KEY, idx INTEGER, action TEXT)",
    "signed (contract TEXT, department TEXT, digest TEXT, PRIMARY KEY (contract, department))",
    "granted (consent TEXT PRIMARY KEY, contract TEXT)",
)


class Rules:
    """Remembers what was closed and decided; holds it on disk, so that a long log does not fill the memory.

    Args:
        scratch: a database of the verifier's own, in a transaction; what an earlier run left there is gone on from.
    """

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self._scratch = scratch
        for table in _TABLES:
            scratch.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")
        self._streams = StreamRules(scratch)
        self._forget()

    def check(self, index: int, record: AccessRecord) -> None:
        """Return only if the record agrees with all that came before it; records come in order.

        Raises:
            Damaged: a second decision about an exchange, a release behind a fence, or one of which the log does not
                show that both departments signed the contract and the person consented.
        """
        if record.kind is Kind.DECISION:
            self._decide(index, key_of(record.exchange))
        self._judge(index, record)

    def check_all(self, facts: Facts) -> None:
        """The same for many records that follow each other.

        Raises:
            Damaged: as `check` and `check_line`, of the first record that disagrees.
        """
        self._scratch.execute("SAVEPOINT these")
        try:
            self._scratch.executemany("INSERT INTO decided VALUES (?, ?)", facts.decided)
            for step in facts.steps:
                self._take(step)
        except (Damaged, sqlite3.IntegrityError):
            # Something is wrong: once more, one by one, for what is the first.
            self._scratch.execute("ROLLBACK TO these")
            self._forget()
            self._check_each(facts)
        finally:
            self._scratch.execute("RELEASE these")

    def _check_each(self, facts: Facts) -> None:
        steps = iter(facts.steps)
        step = next(steps, None)
        for key, index in facts.decided:
            while step is not None and step.position < index:
                self._take(step)
                step = next(steps, None)
            self._decide(index, key)
        while step is not None:
            self._take(step)
            step = next(steps, None)

    def _take(self, step: Release | Whole) -> None:
        if isinstance(step, Release):
            self._release(step.position, step.basis, step.consents)
            return
        self._judge(step.position, step.record)
        for line in step.lines:
            self.check_line(step.position, step.record, line)

    def _judge(self, index: int, record: AccessRecord) -> None:
        if record.kind is Kind.CONTROL and record.grpc_code in ("", "OK") and not record.reasons:
            self._control(index, record)
        self._streams.check(index, record)
        if record.kind is Kind.DECISION and record.decision == "ALLOW":
            self._release(index, basis_of(record), record.consents)

    def _forget(self) -> None:
        """What is only remembered of the database, so as to ask it less often."""
        self._any_closed = self._scratch.execute("SELECT 1 FROM closed").fetchone() is not None
        self._sound: set[Basis | tuple[str, str]] = set()

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
            self._sound.clear()
            final = _CLOSES[record.action] == _FINAL
            sql = "INSERT INTO closed VALUES (?, ?, ?) ON CONFLICT DO "
            sql += "UPDATE SET idx = excluded.idx, action = excluded.action" if final else "NOTHING"
            self._scratch.execute(sql, (record.resource, index, record.action))
        elif record.action in _OPENS:
            found = self._closed(record.resource)
            if found and _CLOSES[found[1]] != _FINAL:
                self._scratch.execute("DELETE FROM closed WHERE resource = ?", (record.resource,))

    def _decide(self, index: int, key: Key) -> None:
        try:
            self._scratch.execute("INSERT INTO decided VALUES (?, ?)", (key, index))
        except sqlite3.IntegrityError:
            query = "SELECT idx FROM decided WHERE exchange = ?"
            (first,) = self._scratch.execute(query, (key,)).fetchone()
            words = f"{name_of(key)} was decided before, in record {first}"
            raise Damaged(DamageKind.DUPLICATE, f"record {index}", words) from None

    def _release(self, index: int, basis: Basis, consents: Consents) -> None:
        where = f"record {index}"
        for consent in consents:
            position = consent.get("position")
            if not isinstance(position, int) or position >= index:
                raise Damaged(DamageKind.RULE, where, f"it rests on {consent.get('name')} as it was later")
        if basis.needs_consent and not (consents or basis.emergency):
            words = "its legal basis is consent, and it names neither one nor an emergency"
            raise Damaged(DamageKind.RULE, where, words)
        # What was in order stays so until something is closed.
        known = basis in self._sound
        names = [str(consent.get("name")) for consent in consents]
        asked = [name for name in names if (name, basis.contract) not in self._sound]
        if known and not asked:
            return
        if not known:
            self._require_signed(where, basis)
        for name in asked:
            self._require_granted(where, name, basis.contract)
        for resource in (*asked, *(() if known else _depends_on(basis))) if self._any_closed else ():
            if found := self._closed(resource):
                words = f"it allows what {found[1]} of {resource} had ended in record {found[0]}"
                raise Damaged(DamageKind.RULE, where, words)
        if len(self._sound) > _REMEMBERED:
            self._sound.clear()
        self._sound.update((basis, *((name, basis.contract) for name in asked)))

    def _require_signed(self, where: str, basis: Basis) -> None:
        query = "SELECT department FROM signed WHERE contract = ? AND digest = ?"
        found = self._scratch.execute(query, (basis.contract, basis.terms_digest))
        for party in sorted({basis.provider, basis.consumer} - {department for (department,) in found}):
            words = (
                f"it rests on {basis.contract}, and no earlier record shows that {party} signed these terms"
            )
            raise Damaged(DamageKind.UNFOUNDED, where, words)

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


def _depends_on(basis: Basis) -> tuple[str, ...]:
    contract, _, _ = basis.contract.partition("@")
    return (basis.contract, contract, basis.dataset, f"certificates/{basis.certificate}")
