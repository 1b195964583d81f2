"""WithdrawConsent: a person ends a consent. A fence, and final."""

from gateway.consents.access import consent_for
from gateway.consents.advance import state_now
from gateway.consents.move import apply
from gateway.consents.states import ConsentEventType, ConsentState
from gateway.consents.view import consent_of, receipt_of
from gateway.state.change import Call, Change, Control
from gateway.state.consents import ConsentRow
from gateway.state.contracts import ContractRow
from isthmus.errors import StateConflict
from isthmus.names import ConsentName
from isthmus.pki import Credentials
from isthmus.v1.consent_service_pb2 import WithdrawConsentRequest, WithdrawConsentResponse


def withdraw(
    control: Control, call: Call, request: WithdrawConsentRequest, *, credentials: Credentials
) -> WithdrawConsentResponse:
    """Withdraws the consent, whatever portal recorded it. PIPL article 15: as easy as giving it was.

    Where several parties consent, the withdrawal of one ends the whole, also while others have yet to answer.

    To withdraw what is withdrawn already changes nothing and answers the same: a portal that did not hear the
    first answer may ask again.

    Raises:
        NotFound: there is no such consent.
        StateConflict: it ended otherwise, or was never given.
    """
    name = ConsentName.parse(request.name)

    def work(change: Change) -> tuple[ConsentRow, ContractRow]:
        row, contract = consent_for(change, name)
        if not row.consented_parties and state_now(change, row, contract) is ConsentState.REQUESTED:
            raise StateConflict(row.name, "it is REQUESTED and nobody has consented yet; it can be refused")
        if row.state == ConsentState.WITHDRAWN.value:
            return row, contract
        return apply(change, row, contract, ConsentEventType.WITHDRAWN, reason=request.reason), contract

    row, contract = control.change(call, work).value
    receipt = receipt_of(row, contract, credentials)
    return WithdrawConsentResponse(
        consent=consent_of(row, control.clock(), contract=contract), receipt=receipt
    )
