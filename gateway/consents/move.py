"""What RefuseConsent, PauseConsent, ResumeConsent, RevokeConsent and InvalidateConsent have in common: one event."""

from gateway.consents.access import consent_for
from gateway.consents.advance import advance, require_possible
from gateway.consents.states import ConsentEventType
from gateway.state.change import Call, Change, Control
from gateway.state.consents import ConsentRow
from gateway.state.contracts import ContractRow
from isthmus.names import ConsentName


def move(
    control: Control, call: Call, event: ConsentEventType, *, name: str, reason: str
) -> tuple[ConsentRow, ContractRow]:
    """Lets `event` happen to a consent, and returns the consent after it and its contract.

    Once this returns, a pause, revocation or invalidation is a fence at the consent's `position`.

    Raises:
        NotFound: there is no such consent, or the caller may not know of it.
        StateConflict: the transition table refuses the event.
    """
    wanted = ConsentName.parse(name)

    def work(change: Change) -> tuple[ConsentRow, ContractRow]:
        row, contract = consent_for(change, wanted)
        return apply(change, row, contract, event, reason=reason), contract

    return control.change(call, work).value


def apply(
    change: Change, row: ConsentRow, contract: ContractRow, event: ConsentEventType, *, reason: str
) -> ConsentRow:
    """Records the event and writes it.

    Raises:
        StateConflict: the transition table refuses it.
    """
    require_possible(change, row, contract, (event,))
    position = change.record(
        row.name, {"event": event.value}, about=contract, subject_token=row.subject_token, reason=reason
    )
    return advance(change, row, contract, (event,), position=position, reason=reason)
