"""What may happen next to a version of a contract, in plain words: `gateway.contracts.states` for people. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from isthmus.cli.contract_words import until, when
from isthmus.v1.contract_service_pb2 import Contract, DeadlineKind


@dataclass(frozen=True, slots=True)
class Step:
    """Something that may happen: the event types it covers, and the words for it, with places for `_facts`."""

    events: tuple[str, ...]
    words: str


_TERMINATE: Final = Step(("TERMINATED",), "either party can end it for good (终止)")
_SUPERSEDE: Final = Step(("SUPERSEDED",), "a later version, once agreed, replaces it (取代)")
_EXPIRE: Final = Step(("EXPIRED",), "it ends by itself (到期): {ends}")
_UNPROVIDED: Final = Step(
    ("PROVIDE_OVERDUE",), "data not provided in time are recorded as overdue (提供逾期)"
)

STEPS: Final[Mapping[str, Sequence[Step]]] = {
    "DRAFT": (Step(("PROPOSED",), "it can be proposed (提出)"),),
    "PROPOSED": (
        Step(("SIGNED", "AGREED"), "{unsigned} can sign it; it is agreed once both have (签署)"),
        Step(("COUNTERED",), "{addressee} can answer with other terms (另提条款)"),
        Step(("REJECTED",), "{addressee} can refuse it, with a reason and a law (不同意)"),
        Step(("SUPPLEMENT_REQUESTED",), "{addressee} can ask once for what is missing (一次性告知)"),
        Step(("SUPPLEMENTED",), "{proposer} can say that what was missing is supplied (补正)"),
        Step(
            ("ANSWER_EXTENDED",), "{addressee} can take more time, once, where the rules allow it (延长答复)"
        ),
        Step(("WITHDRAWN",), "{proposer} can take it back (撤回)"),
        Step(("ANSWER_OVERDUE",), "an answer that does not come in time is recorded as overdue (答复逾期)"),
    ),
    "AGREED": (
        Step(("ACTIVATED",), "it comes into force by itself (生效): {begins}"),
        _TERMINATE,
        _SUPERSEDE,
    ),
    "ACTIVE": (
        Step(("SUSPENDED",), "either party can stop it for a time (中止)"),
        _TERMINATE,
        _SUPERSEDE,
        _EXPIRE,
        _UNPROVIDED,
    ),
    "SUSPENDED": (
        Step(("RESUMED",), "the department that stopped it can let it go on (恢复)"),
        _TERMINATE,
        _SUPERSEDE,
        _EXPIRE,
        _UNPROVIDED,
        Step(("RECTIFY_OVERDUE",), "a cause not put right in time is recorded as overdue (整改逾期)"),
    ),
}
"""By state; nothing leads out of a state that is not here."""


def unsigned(contract: Contract) -> list[str]:
    """Returns the parties that have not signed, the provider first."""
    signed = {each.department for each in contract.signatures}
    return [each for each in (contract.terms.provider, contract.terms.consumer) if each not in signed]


def next_steps(contract: Contract, state: str, zone: tzinfo | None) -> list[str]:
    """Returns what may happen to a version in `state`, the name of a ContractState without its prefix.

    Args:
        contract: the version.
        state: where it stands.
        zone: the time zone for people; None for the machine's own.
    """
    terms = contract.terms
    addressee = terms.provider if contract.proposer == terms.consumer else terms.consumer
    facts = {
        "unsigned": " and ".join(unsigned(contract)),
        "addressee": addressee,
        "proposer": contract.proposer,
        "begins": when(terms.period.not_before, zone),
        "ends": until(terms.period.not_after, zone),
    }
    found = [step.words.format_map(facts) for step in _possible(contract, state)]
    return found or ["nothing: this version has come to its end (已办结)"]


def _possible(contract: Contract, state: str) -> Iterator[Step]:
    asked = bool(contract.supplement_request)
    clocks = [each for each in contract.deadlines if each.kind == DeadlineKind.DEADLINE_KIND_ANSWER]
    for step in STEPS.get(state, ()):
        if "SUPPLEMENT_REQUESTED" in step.events and asked:
            continue
        # Without an answer's clock nothing tells whether the supplement has come.
        if "SUPPLEMENTED" in step.events and not (asked and all(each.stopped for each in clocks)):
            continue
        yield step
