"""Who may see or end a consent: portals, which speak for people, and officers of the contract's parties."""

import sqlalchemy as sa

from gateway.state.change import Call, Change, Refusal
from gateway.state.consents import ConsentRow, get_consent
from gateway.state.contracts import ContractRow, get_version
from isthmus.errors import NotFound
from isthmus.identity import Role
from isthmus.names import ConsentName, ContractName
from isthmus.reasons import Reason


def contract_of_consent(conn: sa.Connection, row: ConsentRow) -> ContractRow:
    """Returns the version of the contract that a consent was given to."""
    name = ContractName.parse(row.contract, versioned=True)
    contract = get_version(conn, str(name.base), name.version or 0)
    if contract is None:
        raise RuntimeError(f"{row.name} was given to a contract that is not there")
    return contract


def may_see(call: Call, contract: ContractRow) -> bool:
    """Whether the caller may know of consents to this contract."""
    return call.identity.role is Role.PORTAL or call.department in contract.parties


def consent_for(change: Change, name: ConsentName) -> tuple[ConsentRow, ContractRow]:
    """Returns a consent and its contract, for a caller who may change it.

    Raises:
        NotFound: there is no such consent.
        Refusal: there is, but its contract is between other departments; the answer is the same (AIP-211).
    """
    row = get_consent(change.connection, str(name))
    if row is None:
        raise NotFound(str(name))
    contract = contract_of_consent(change.connection, row)
    if not may_see(change.call, contract):
        raise Refusal(NotFound(str(name)), str(name), reason=Reason.NOT_A_PARTY)
    return row, contract
