"""Who may see a contract: its two parties, auditors, and portals where people are asked for their consent."""

from gateway.contracts.states import AGREED_ONCE
from gateway.state.change import Call, Change, Refusal
from gateway.state.contracts import ContractRow, get_version
from isthmus.errors import NotFound
from isthmus.identity import Role
from isthmus.names import ContractName
from isthmus.reasons import Reason


def may_see(call: Call, row: ContractRow) -> bool:
    """Whether the caller may know of this version at all.

    A portal sees what it must show a person who is asked to consent: agreed versions whose basis is CONSENT.
    """
    match call.identity.role:
        case Role.AUDITOR:
            return True
        case Role.PORTAL:
            return row.terms["legal_basis"] == "CONSENT" and row.state in AGREED_ONCE
        case _:
            return call.department in row.parties


def version_for_party(change: Change, name: ContractName) -> ContractRow:
    """Returns the version that `name` names, for a caller who is a party to it.

    Raises:
        NotFound: there is no such version.
        Refusal: there is, but the caller's department is not a party; the answer is the same (AIP-211).
    """
    row = get_version(change.connection, str(name.base), name.version or 0)
    if row is None:
        raise NotFound(str(name))
    if change.call.department not in row.parties:
        raise Refusal(NotFound(str(name)), str(name), reason=Reason.NOT_A_PARTY)
    return row


def other_party(row: ContractRow, department: str) -> str:
    """Returns the party that `department` is not."""
    return row.consumer if department == row.provider else row.provider
