"""What the records must not say about each other: the fences, checked again from the log alone."""

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from audit.batch.lines import Line
from audit.record import AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.facts import BATCH, Basis, Facts, Key, Release, Whole, key_of, name_of, release_of
from audit.verifier.fences import Fences, Grant
from audit.verifier.stream import StreamRules

_REMEMBERED: Final = 20_000
_NO_CONSENT: Final = "its legal basis is consent, and it names neither one nor an emergency"


class Rules:
    """Remembers what was closed and decided; holds it on disk, so that a long log does not fill the memory.

    Args:
        scratch: a database of the verifier's own, in a transaction; what an earlier run left there is gone on from.
    """

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self._scratch = scratch
        table = "decided (exchange BLOB PRIMARY KEY, idx INTEGER)"
        scratch.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")
        self._fences = Fences(scratch)
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
            self._release(step)
            return
        self._judge(step.position, step.record)
        for line in step.lines:
            self.check_line(step.position, step.record, line)

    def _judge(self, index: int, record: AccessRecord) -> None:
        done = record.kind is Kind.CONTROL and record.grpc_code in ("", "OK") and not record.reasons
        if done and self._fences.learn(index, record):
            self._forget()
        self._streams.check(index, record)
        if record.kind is Kind.DECISION and record.decision == "ALLOW":
            if record.mode == BATCH and not record.subjects_root:
                words = "it is a batch, and vouches for no line that would say about whom"
                raise Damaged(DamageKind.RULE, f"record {index}", words)
            self._release(release_of(index, record))

    def _forget(self) -> None:
        """What is only remembered of the database, so as to ask it less often."""
        self._any_closed = self._fences.any_closed()
        self._sound: set[Basis] = set()
        self._given: dict[tuple[str, str], Grant] = {}

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
        if line.consent:
            self._require_consent(where, index, line.consent, contract=record.contract, token=line.token)
        elif record.legal_basis == "CONSENT" and not record.emergency:
            raise Damaged(DamageKind.RULE, where, _NO_CONSENT)

    def _decide(self, index: int, key: Key) -> None:
        try:
            self._scratch.execute("INSERT INTO decided VALUES (?, ?)", (key, index))
        except sqlite3.IntegrityError:
            query = "SELECT idx FROM decided WHERE exchange = ?"
            (first,) = self._scratch.execute(query, (key,)).fetchone()
            words = f"{name_of(key)} was decided before, in record {first}"
            raise Damaged(DamageKind.DUPLICATE, f"record {index}", words) from None

    def _release(self, release: Release) -> None:
        where, basis = f"record {release.position}", release.basis
        for consent in release.consents:
            _require_earlier(where, release.position, consent)
        if basis.needs_consent and not (release.consents or basis.emergency):
            raise Damaged(DamageKind.RULE, where, _NO_CONSENT)
        # What was in order stays so until something is closed.
        if basis not in self._sound:
            self._require_signed(where, basis)
            for resource in _depends_on(basis):
                self._require_open(where, resource)
            if len(self._sound) > _REMEMBERED:
                self._sound.clear()
            self._sound.add(basis)
        for consent in release.consents:
            self._require_consent(
                where, release.position, consent, contract=basis.contract, token=release.token
            )

    def _require_signed(self, where: str, basis: Basis) -> None:
        signers = self._fences.signers(basis.contract, basis.terms_digest)
        for party in sorted({basis.provider, basis.consumer} - signers):
            words = (
                f"it rests on {basis.contract}, and no earlier record shows that {party} signed these terms"
            )
            raise Damaged(DamageKind.UNFOUNDED, where, words)

    def _require_consent(
        self, where: str, index: int, consent: Mapping[str, Any], *, contract: str, token: str | None
    ) -> None:
        """Return only if a consent was given to the contract by the person, as it stands where it is named, and not ended.

        Raises:
            Damaged: it was not; `token` None stands for a record that names nobody because its lines do.
        """
        position, name = _require_earlier(where, index, consent), str(consent.get("name"))
        grant = self._given.get((name, contract))
        if grant is None:
            grant = self._fences.grant_of(name, contract)
            if grant is None:
                words = f"it rests on {name}, and no earlier record shows that it was given to {contract}"
                raise Damaged(DamageKind.UNFOUNDED, where, words)
            self._require_open(where, name)
            if len(self._given) > _REMEMBERED:
                self._given.clear()
            self._given[name, contract] = grant
        if position < grant.position:
            words = f"it rests on {name} as of record {position}, and it was given in record {grant.position}"
            raise Damaged(DamageKind.RULE, where, words)
        if token is not None and not _may_be_same(grant.token, token):
            words = f"it rests on {name}, which another person gave in record {grant.position}"
            raise Damaged(DamageKind.RULE, where, words)

    def _require_open(self, where: str, resource: str) -> None:
        if self._any_closed and (end := self._fences.end_of(resource)):
            words = f"it allows what {end.deed} had ended in record {end.position}"
            raise Damaged(DamageKind.RULE, where, words)


def _require_earlier(where: str, index: int, consent: Mapping[str, Any]) -> int:
    position = consent.get("position")
    if type(position) is not int or position >= index:
        raise Damaged(DamageKind.RULE, where, f"it rests on {consent.get('name')} as it was later")
    return position


def _may_be_same(one: str, other: str) -> bool:
    """Whether two tokens may be one person's. Those of two key epochs cannot be compared."""
    epochs = {each.partition(".")[0] for each in (one, other)}
    return one == other or ("" not in epochs and len(epochs) == 2)


def _depends_on(basis: Basis) -> tuple[str, ...]:
    contract, _, _ = basis.contract.partition("@")
    return (basis.contract, contract, basis.dataset, f"certificates/{basis.certificate}")
