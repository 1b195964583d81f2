"""Everything the decisions about a batch depend on, read at one moment: in a snapshot to admit it, and again in the
transaction that records it. Nothing of it outlives that moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from gateway.batch.asked import BatchAsked
from gateway.batch.consents import Given, given_by, last_word, spoken_since
from gateway.batch.people import People, Person, identify
from gateway.batch.purse import Purse, personal_limits, read_many
from gateway.exchange.state import Rules, View, World, read_world
from gateway.policy.facts import ConsentFacts, select_consent
from gateway.quotas import NO_USE, Counter, Limit, Use, consent_limit
from gateway.state.datasets import normalisers_of_scheme
from gateway.state.times import to_ms
from isthmus.subjects import epochs

_CONSENT: Final = "CONSENT"
_SUBJECT: Final = "SUBJECT"
_ACTIVE: Final = "ACTIVE"
_EXHAUSTED: Final = "EXHAUSTED"


@dataclass(frozen=True, slots=True)
class State:
    """One read: what all of the batch depends on (`view` in `world`), its people, and what each of them consented to.

    Attributes:
        given: by the number of the person; empty where no consent is asked for, or none was read yet.
        limited: of the persons whose consent limits its uses, what of it decides now, and that limit.
    """

    world: World
    view: View
    people: People
    purse: Purse
    given: Sequence[Given | None] = ()
    limited: Mapping[int, tuple[ConsentFacts, Limit]] = field(default_factory=dict)

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


@dataclass(slots=True)
class Heard:
    """What the people of a batch said, as it was read before the department was asked, one part of them after another.

    Attributes:
        state: what was read for all of them.
        size: how many records the log had before any of it was read.
        given: by the number of the person.
        until: when the clock changes something of it, milliseconds since the epoch; None for never.
    """

    state: State
    size: int
    given: list[Given | None] = field(default_factory=list)
    until: int | None = None

    def add(self, given: Sequence[Given | None], until: int | None) -> None:
        """Takes in what further people said."""
        self.given += given
        self.until = min((each for each in (self.until, until) if each is not None), default=None)

    def holds(self, conn: sa.Connection, now: State) -> bool:
        """Whether all of it is still so: the log tells of every change, and the clock of what needs no record.

        Args:
            conn: the connection of a ledger transaction.
            now: what was read in it for all of the batch.
        """
        before, persons = self.state, now.people.persons
        if now.people is not before.people or len(self.given) != len(persons):
            return False
        if now.view.contract is None or before.view.contract is None:
            return False
        if now.view.contract.full_name != before.view.contract.full_name or now.world.now < before.world.now:
            return False
        if self.until is not None and to_ms(now.world.now) >= self.until:
            return False
        spoken = spoken_since(conn, now.view.asked.contract, self.size)
        if not spoken:
            return True
        known = {token for person in persons for token in person.tokens}
        # While the subject keys are changed another gateway may file a person under a key that this one has not got.
        return spoken.isdisjoint(known) and epochs(spoken) <= epochs(known)


def read_state(
    conn: sa.Connection,
    batch: BatchAsked,
    rules: Rules,
    *,
    now: datetime,
    people: People | None = None,
    nodes: Sequence[str] = (),
    heard: Heard | None = None,
) -> State:
    """Reads all of the state for a batch: some queries for all of it, and one for each 500 consents.

    Args and errors are those of `read_common`; where what was `heard` still holds, it is not read again.
    """
    state = read_common(conn, batch, rules, now=now, people=people, nodes=nodes)
    if heard is not None and rests_on_consent(state.world, state.view) and heard.holds(conn, state):
        return _with_given(conn, state, heard.given)
    return read_given(conn, state)[0]


def read_common(
    conn: sa.Connection,
    batch: BatchAsked,
    rules: Rules,
    *,
    now: datetime,
    people: People | None = None,
    nodes: Sequence[str] = (),
) -> State:
    """Reads what all of a batch depends on: some queries for all of it.

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
    return State(world, view, people, Purse(view.limits, world.usage))


def read_given(conn: sa.Connection, state: State) -> tuple[State, int | None]:
    """Returns a state with what its people said, and until when the clock changes nothing of that, as in `Heard`."""
    if not rests_on_consent(state.world, state.view):
        return _with_given(conn, state, ()), None
    given, until = _given(conn, state)
    return _with_given(conn, state, given), until


def _with_given(conn: sa.Connection, state: State, given: Sequence[Given | None]) -> State:
    uses = {number: _limit(each) for number, each in enumerate(given) if each is not None and each.max_uses}
    personal = _personal(conn, state.view, state.people.persons, uses.values())
    state.purse.know(personal)
    limited = {
        number: (_unless_used(each.facts, uses[number], personal), uses[number])
        for number, each in enumerate(given)
        if each is not None and each.max_uses
    }
    return replace(state, given=given, limited=limited)


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


def _given(conn: sa.Connection, state: State) -> tuple[list[Given | None], int | None]:
    persons, world, contract = state.people.persons, state.world, state.view.asked.contract
    # One token each, unless the keys were changed.
    if all(len(person.tokens) == 1 for person in persons):
        own = [person.token for person in persons]
        said = given_by(conn, contract, own, now=world.now)
        return list(map(said.given.get, own)), said.until
    every = [token for person in persons for token in person.tokens]
    said = given_by(conn, contract, every, now=world.now)
    nearest = [_nearest(last_word(person.tokens, said.given), world, state.view) for person in persons]
    return nearest, said.until


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
