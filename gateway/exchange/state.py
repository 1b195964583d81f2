"""One batched read of everything the decisions about a train of exchanges depend on.

Nothing of it outlives the transaction or snapshot it was read in: state is never cached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from gateway.consents.states import effective_state as consent_state
from gateway.contracts.states import effective_state as contract_state
from gateway.denylist import denied
from gateway.exchange.item import Asked, Mode
from gateway.independence import OutageBudget
from gateway.policy.engine import PolicyEngine, Ruling
from gateway.policy.facts import BreakGlass, ConsentFacts, ContractFacts, DatasetFacts, Facts, select_consent
from gateway.quotas import Counter, Limit, Use, consent_limit, limits, read_usage, used_up
from gateway.state.consents import ConsentRow, consents_of
from gateway.state.contracts import ContractRow
from gateway.state.datasets import DatasetRow, datasets, normalisers_of_scheme
from gateway.state.in_force import contracts_in_force
from gateway.state.terms import ContractDamaged
from isthmus.errors import InvalidArgument, Unavailable
from isthmus.reasons import Reason
from isthmus.subjects import SubjectTokens, normalise

_CONSENT: Final = "CONSENT"
_OMITTED: Final = "omit"
_ACTIVE, _EXHAUSTED = "ACTIVE", "EXHAUSTED"
_GATEWAY_DENIED: Final = (
    "this gateway's own certificate was denied; it exchanges nothing until its operator gives it a new one"
)


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """A subject as the dataset knows it: canonical identifier, current token, and its token in every key epoch.

    `canonical` is empty when the identifier is none, and `fault` then says so.
    """

    canonical: str
    token: str
    tokens: tuple[str, ...]
    fault: InvalidArgument | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one read says about one exchange. `contract` is None unless the caller's department is its consumer.

    `limits` are the contract's, `uses` the limit that the consent itself sets, if it sets one. `damage` says that the
    caller's contract is there, and cannot be used.
    """

    asked: Asked
    contract: ContractRow | None
    dataset: DatasetRow | None
    subject: SubjectKey
    consent: ConsentFacts | None
    limits: tuple[Limit, ...]
    uses: Limit | None = None
    damage: ContractDamaged | None = None

    @property
    def counted(self) -> tuple[Limit, ...]:
        """Every limit that a release counts towards."""
        return self.limits if self.uses is None else (*self.limits, self.uses)


@dataclass(frozen=True, slots=True)
class Rules:
    """What turns state into decisions: the policy, the subject keys and the deployment's clock offset from UTC.

    `certificate` is the thumbprint of the gateway's own: one that was denied decides nothing any more. `budget` is None
    where the log may go without outside witnesses.
    """

    policy: PolicyEngine
    tokens: SubjectTokens
    offset: timedelta = timedelta(0)
    certificate: str = ""
    budget: OutageBudget | None = None


@dataclass(slots=True)
class World:
    """The state at one moment, for a train of exchanges."""

    now: datetime
    views: list[View]
    denied: frozenset[str]
    usage: dict[Counter, Use]
    contracts: dict[str, ContractFacts] = field(default_factory=dict)
    datasets: dict[tuple[str, frozenset[str]], DatasetFacts] = field(default_factory=dict)

    def facts(self, view: View, rules: Rules, *, rows: int | None = None) -> Facts:
        """Returns what the decision about `view` depends on.

        Args:
            view: one of `views`.
            rules: the deployment's rules.
            rows: how many rows would be released; None before anybody knows.
        """
        asked, local = view.asked, self.now + rules.offset
        contract = view.contract
        return Facts(
            system=asked.system,
            consumer=asked.consumer,
            contract_name=asked.contract,
            mode=asked.mode.value,
            purpose=asked.purpose,
            fields=asked.wanted,
            scheme=asked.scheme,
            hour=local.hour,
            weekday=local.isoweekday(),
            credential_denied=asked.certificate in self.denied,
            case_reference_given=bool(asked.case_reference.strip()),
            emergency=bool(asked.emergency),
            contract=self.contracts[contract.name] if contract else None,
            dataset=self._dataset(view) if contract else None,
            consent=self._consent(view) if contract else None,
            quota_exhausted=contract is not None and used_up(view.limits, self.usage, rows=rows) is not None,
        )

    def _dataset(self, view: View) -> DatasetFacts | None:
        if view.dataset is None:
            return None
        key = (view.dataset.name, view.asked.wanted)
        if key not in self.datasets:
            self.datasets[key] = _dataset_facts(view.dataset, view.asked.wanted)
        return self.datasets[key]

    def _consent(self, view: View) -> ConsentFacts | None:
        """The consent, EXHAUSTED from the moment its last use is counted, whatever was written about it since."""
        consent = view.consent
        if consent is None or consent.state != _ACTIVE or view.uses is None:
            return consent
        return replace(consent, state=_EXHAUSTED) if used_up((view.uses,), self.usage, rows=None) else consent

    def decide(self, view: View, rules: Rules, *, rows: int | None = None) -> Ruling:
        """Returns what the policy says about `view` at this moment. Arguments as for `facts`."""
        return rules.policy.decide(self.facts(view, rules, rows=rows))


def read_world(
    conn: sa.Connection, asked: Sequence[Asked], rules: Rules, *, now: datetime, nodes: Sequence[str] = ()
) -> World:
    """Reads the state for a train of exchanges: a fixed number of queries, whatever its length.

    Args:
        conn: a snapshot, or the connection of a ledger transaction.
        asked: what the exchanges ask.
        rules: the deployment's rules.
        now: the time of the decision, UTC.
        nodes: thumbprints of provider certificates to look up in the denylist too.

    Raises:
        Unavailable: GATEWAY_DENIED, the gateway's own certificate is on the denylist; or LEDGER_UNWITNESSED, the outage
            budget is spent.
    """
    if rules.budget is not None:
        rules.budget.require(now)
    struck = denied(conn, {each.certificate for each in asked} | {*nodes, rules.certificate})
    if rules.certificate in struck:
        raise Unavailable(Reason.GATEWAY_DENIED, _GATEWAY_DENIED)
    found = contracts_in_force(conn, {each.contract for each in asked}, now)
    rows = {name: row for name, row in found.items() if row.damage is None}
    entries = datasets(conn, {row.dataset for row in rows.values()})
    strangers = {each.scheme for each in asked if not _own(rows.get(each.contract), each)}
    usual = {scheme: min(normalisers_of_scheme(conn, scheme), default=("strip",)) for scheme in strangers}
    subjects = [_subject(each, rows.get(each.contract), entries, usual, rules.tokens) for each in asked]
    pairs = {
        (each.contract, token)
        for each, subject in zip(asked, subjects, strict=True)
        if _needs_consent(rows.get(each.contract), each)
        for token in subject.tokens
    }
    consents = consents_of(conn, pairs) if pairs else {}
    facts = {name: _contract_facts(row, now) for name, row in rows.items()}
    views = [
        _damaged(each, subject, found.get(each.contract))
        or _view(each, subject, rows=rows, entries=entries, facts=facts, consents=consents, now=now)
        for each, subject in zip(asked, subjects, strict=True)
    ]
    counters = {limit.counter for view in views for limit in view.counted}
    return World(
        now=now,
        views=views,
        denied=struck,
        usage=read_usage(conn, counters) if counters else {},
        contracts=facts,
    )


def _own(row: ContractRow | None, asked: Asked) -> bool:
    return row is not None and row.consumer == asked.consumer


def _needs_consent(row: ContractRow | None, asked: Asked) -> bool:
    return row is not None and _own(row, asked) and row.terms["legal_basis"] == _CONSENT


def _subject(
    asked: Asked,
    row: ContractRow | None,
    entries: Mapping[str, DatasetRow],
    usual: Mapping[str, tuple[str, ...]],
    tokens: SubjectTokens,
) -> SubjectKey:
    if asked.mode is Mode.STREAM:
        return SubjectKey("", "", ())
    entry = entries.get(row.dataset) if row is not None and _own(row, asked) else None
    known = entry is not None and entry.subject_scheme == asked.scheme
    # Without a contract the attempt is still filed under the person, however the number was written.
    normalisers = (
        entry.subject_normalisers if entry is not None and known else usual.get(asked.scheme, ("strip",))
    )
    if normalisers not in asked.memory:
        asked.memory[normalisers] = _key(asked, normalisers, tokens)
    found: SubjectKey = asked.memory[normalisers]
    return found


def _key(asked: Asked, normalisers: tuple[str, ...], tokens: SubjectTokens) -> SubjectKey:
    try:
        canonical = normalise(asked.identifier, normalisers)
    except InvalidArgument as fault:
        return SubjectKey("", "", (), fault)
    token = tokens.token(asked.scheme, canonical)
    every = tokens.all_tokens(asked.scheme, canonical) if len(tokens.keys) > 1 else (token,)
    return SubjectKey(canonical, token, every)


def _damaged(asked: Asked, subject: SubjectKey, row: ContractRow | None) -> View | None:
    """The view of a contract whose terms are not what was signed: as if there were none, and it says why."""
    if row is None or row.damage is None or not _own(row, asked):
        return None
    return View(asked, None, None, subject, None, (), damage=row.damage)


def _view(
    asked: Asked,
    subject: SubjectKey,
    *,
    rows: Mapping[str, ContractRow],
    entries: Mapping[str, DatasetRow],
    facts: Mapping[str, ContractFacts],
    consents: Mapping[tuple[str, str], list[ConsentRow]],
    now: datetime,
) -> View:
    row = rows.get(asked.contract)
    if row is None or not _own(row, asked):
        return View(asked, None, None, subject, None, ())
    found = [each for token in subject.tokens for each in consents.get((asked.contract, token), ())]
    consent = _consent(found, facts[row.name], asked, now)
    if asked.emergency and facts[row.name].opens_in_emergency(asked.system):
        # The exchange rests on the emergency: it is no use of a consent, and its record must not say that it is.
        consent = None
    return View(
        asked,
        row,
        entries.get(row.dataset),
        subject,
        consent,
        limits(
            row.terms["quotas"], contract=row.full_name, system=asked.system, token=subject.token, now=now
        ),
        _uses(consent, found),
    )


def _uses(consent: ConsentFacts | None, found: Sequence[ConsentRow]) -> Limit | None:
    if consent is None:
        return None
    most = next(each.max_uses for each in found if each.name == consent.name)
    return consent_limit(contract=consent.contract, consent=consent.name, max_uses=most)


def _consent(
    found: Sequence[ConsentRow], contract: ContractFacts, asked: Asked, now: datetime
) -> ConsentFacts | None:
    if not found:
        return None
    # After a change of subject keys a person may have consented under two tokens: the last word counts, so
    # that withdrawing the newer consent never brings back the older one.
    last = max(each.created_at for each in found)
    return select_consent(
        [_consent_facts(each, now) for each in found if each.created_at == last],
        contract,
        mode=asked.mode.value,
        purpose=asked.purpose,
        fields=asked.fields,
    )


def _consent_facts(row: ConsentRow, now: datetime) -> ConsentFacts:
    return ConsentFacts(
        state=consent_state(row, now).value,
        begun=now >= row.not_before,
        over=now >= row.not_after,
        contract=row.contract,
        terms_digest=row.terms_digest,
        purposes=frozenset(row.purposes),
        fields=frozenset(row.fields),
        modes=frozenset(row.modes),
        name=row.name,
        position=row.position,
    )


def _contract_facts(row: ContractRow, now: datetime) -> ContractFacts:
    terms = row.terms
    return ContractFacts(
        name=row.full_name,
        version=row.version,
        terms_digest=row.terms_digest,
        provider=row.provider,
        dataset=row.dataset,
        state=contract_state(row, now).value,
        signed_by_both=row.parties <= row.signatures,
        begun=now >= row.not_before,
        over=now >= row.not_after,
        systems=frozenset(terms["systems"]),
        purposes=frozenset(terms["purposes"]),
        fields=frozenset(each["name"] for each in terms["fields"] if each["transform"] != _OMITTED),
        modes=frozenset(terms["modes"]),
        legal_basis=terms["legal_basis"],
        signed_requests=terms["evidence"]["signed_requests"],
        break_glass=BreakGlass(terms["break_glass"]["allowed"], frozenset(terms["break_glass"]["systems"])),
    )


def _dataset_facts(row: DatasetRow, wanted: frozenset[str]) -> DatasetFacts:
    levels = (row.fields[name].sensitivity for name in wanted if name in row.fields)
    return DatasetFacts(
        retired=row.retired,
        sharing_class=row.sharing_class,
        scheme=row.subject_scheme,
        grade=row.grade,
        # common.proto: a sensitivity that is not stated counts as SENSITIVE.
        sensitivities=frozenset("SENSITIVE" if level == "UNSPECIFIED" else level for level in levels),
    )
