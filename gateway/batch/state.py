"""Everything the decisions about a batch depend on, read at one moment: in a snapshot to admit it, and again in the
transaction that records it. Nothing of it outlives that moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from gateway.batch.asked import BatchAsked
from gateway.batch.consents import Given, given_by, last_word
from gateway.batch.people import People, Person, identify
from gateway.batch.purse import Purse, personal_limits, read_many
from gateway.exchange.state import Rules, View, World, read_world
from gateway.policy.facts import ConsentFacts, select_consent
from gateway.quotas import NO_USE, Counter, Limit, Use, consent_limit
from gateway.state.datasets import normalisers_of_scheme

_CONSENT: Final = "CONSENT"
_SUBJECT: Final = "SUBJECT"
_ACTIVE: Final = "ACTIVE"
_EXHAUSTED: Final = "EXHAUSTED"


@dataclass(frozen=True, slots=True)
class State:
    """One read: what all of the batch depends on (`view` in `world`), its people, and what each of them consented to.

    Attributes:
        given: by the number of the person; empty where no consent is asked for.
        limited: of the persons whose consent limits its uses, what of it decides now, and that limit.
    """

    world: World
    view: View
    people: People
    given: Sequence[Given | None]
    limited: Mapping[int, tuple[ConsentFacts, Limit]]
    purse: Purse

    def facts(self) -> list[ConsentFacts | None]:
        """What of each person's consent decides."""
        if not self.given:
            return [None] * len(self.people.persons)
        facts = [None if each is None else each.facts for each in self.given]
        for number, (own, _) in self.limited.items():
            facts[number] = own
        return facts

    def uses(self, number: int) -> Limit | None:
        """The limit that a person's consent sets on its uses."""
        return self.limited[number][1] if number in self.limited else None


def read_state(
    conn: sa.Connection,
    batch: BatchAsked,
    rules: Rules,
    *,
    now: datetime,
    people: People | None = None,
    nodes: Sequence[str] = (),
) -> State:
    """Reads the state for a batch: some queries for all of it, and one for each 500 consents.

    Args:
        conn: a snapshot, or the connection of a ledger transaction.
        batch: what is asked.
        rules: the deployment's rules.
        now: the time of the decision, UTC.
        people: who was found by an earlier read; used again where identifiers still read the same.
        nodes: thumbprints of provider certificates to look up in the denylist too.

    Raises:
        Unavailable: GATEWAY_DENIED, the gateway's own certificate is on the denylist.
    """
    world = read_world(conn, [batch.asked], rules, now=now, nodes=nodes)
    view = world.views[0]
    chains = _normalisers(conn, batch, view)
    if people is None or people.normalisers != chains:
        people = identify(batch.subjects, chains, rules.tokens)
    given = _given(conn, world, view, people.persons, tokens=len(rules.tokens.keys))
    uses = {number: _limit(each) for number, each in enumerate(given) if each is not None and each.max_uses}
    personal = _personal(conn, view, people.persons, uses.values())
    limited = {
        number: (_unless_used(each.facts, uses[number], personal), uses[number])
        for number, each in enumerate(given)
        if each is not None and each.max_uses
    }
    return State(world, view, people, given, limited, Purse(view.limits, world.usage, personal))


def _personal(
    conn: sa.Connection, view: View, persons: Sequence[Person], uses: Iterable[Limit]
) -> dict[Counter, Use]:
    """What the subjects, and the consents that limit their uses, have used."""
    counters = {each.counter for each in uses}
    own = [each for each in view.limits if each.counter.scope == _SUBJECT]
    if own:
        counters |= {each.counter for person in persons for each in personal_limits(own, person.token)}
    return read_many(conn, counters) if counters else {}


def _normalisers(conn: sa.Connection, batch: BatchAsked, view: View) -> dict[str, tuple[str, ...]]:
    """The normalisers of each scheme: the dataset's for its own, as for a Query."""
    chains: dict[str, tuple[str, ...]] = {}
    for scheme in dict.fromkeys(scheme for scheme, _ in batch.subjects):
        entry = view.dataset
        if entry is not None and entry.subject_scheme == scheme:
            chains[scheme] = entry.subject_normalisers
        else:
            chains[scheme] = min(normalisers_of_scheme(conn, scheme), default=("strip",))
    return chains


def _given(
    conn: sa.Connection, world: World, view: View, persons: Sequence[Person], *, tokens: int
) -> list[Given | None]:
    if not rests_on_consent(world, view):
        return []
    if tokens == 1:
        own = [person.token for person in persons]
        return list(map(given_by(conn, view.asked.contract, own, now=world.now).get, own))
    every = [token for person in persons for token in person.tokens]
    found = given_by(conn, view.asked.contract, every, now=world.now)
    return [_nearest(last_word(person.tokens, found), world, view) for person in persons]


def rests_on_consent(world: World, view: View) -> bool:
    """Whether the batch needs the consent of each person: by its contract, and no emergency stands in for it."""
    if view.contract is None:
        return False
    contract = world.contracts[view.contract.name]
    opened = bool(view.asked.emergency) and contract.opens_in_emergency(view.asked.system)
    return contract.legal_basis == _CONSENT and not opened


def _limit(given: Given) -> Limit:
    limit = consent_limit(contract=given.facts.contract, consent=given.name, max_uses=given.max_uses)
    if limit is None:
        raise ValueError("a consent without max_uses sets no limit")
    return limit


def _nearest(last: Sequence[Given], world: World, view: View) -> Given | None:
    """Of what was said last under several tokens, what comes nearest to allowing the batch."""
    if len(last) < 2 or view.contract is None:
        return last[0] if last else None
    named = [replace(each.facts, name=each.name, position=each.position) for each in last]
    asked, terms = view.asked, world.contracts[view.contract.name]
    chosen = select_consent(named, terms, mode=asked.mode.value, purpose=asked.purpose, fields=asked.fields)
    return next(each for each in last if chosen is not None and each.name == chosen.name)


def _unless_used(facts: ConsentFacts, uses: Limit, personal: Mapping[Counter, Use]) -> ConsentFacts:
    """What of a consent decides: it is EXHAUSTED from the moment its last use is counted."""
    if facts.state != _ACTIVE or uses.allows(personal.get(uses.counter, NO_USE), rows=None):
        return facts
    return replace(facts, state=_EXHAUSTED)
