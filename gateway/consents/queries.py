"""GetConsent and ListConsents."""

import sqlalchemy as sa

from gateway.consents.access import contract_of_consent, may_see
from gateway.consents.subject import tokens_of
from gateway.consents.view import consent_of
from gateway.state.calls import last_text
from gateway.state.change import Call
from gateway.state.consents import cursor_of, get_consent, page_of_consents
from gateway.state.contracts import get_newest
from isthmus.errors import InvalidArgument, NotFound
from isthmus.identity import Role
from isthmus.names import ConsentName, ContractName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.subjects import SubjectTokens
from isthmus.v1 import consent_service_pb2 as pb


def get_consent_for(conn: sa.Connection, call: Call, request: pb.GetConsentRequest) -> pb.GetConsentResponse:
    """Returns one consent; an officer does not learn whose it is.

    Raises:
        NotFound: there is none, or its contract is between other departments.
    """
    name = str(ConsentName.parse(request.name))
    row = get_consent(conn, name)
    if row is None or not may_see(call, contract_of_consent(conn, row)):
        raise NotFound(name)
    return pb.GetConsentResponse(consent=consent_of(row, call.received, redacted=_redacted(call)))


def list_consents(
    conn: sa.Connection, call: Call, request: pb.ListConsentsRequest, tokens: SubjectTokens
) -> pb.ListConsentsResponse:
    """Returns a page of consents, oldest first: of a person, under a contract, or both.

    Raises:
        InvalidArgument: neither is named, or an officer names a person; a bad page size or page token.
        NotFound: there is no such contract, or the caller is not a party to it.
    """
    wanted = _tokens(conn, call, request, tokens)
    contract = _contract(conn, call, request.contract)
    size = page_size(request.page_size)
    rows = page_of_consents(conn, tokens=wanted, contract=contract, after=last_text(request), limit=size + 1)
    token = next_page_token(request, (cursor_of(rows[size - 1]),)) if len(rows) > size else ""
    consents = [consent_of(row, call.received, redacted=_redacted(call)) for row in rows[:size]]
    return pb.ListConsentsResponse(consents=consents, next_page_token=token)


def _tokens(
    conn: sa.Connection, call: Call, request: pb.ListConsentsRequest, tokens: SubjectTokens
) -> tuple[str, ...]:
    if not request.HasField("subject"):
        if not request.contract:
            raise InvalidArgument("subject", "must be named, or a contract")
        return ()
    if call.identity.role is not Role.PORTAL:
        raise InvalidArgument("subject", "may be named by portals only; name a contract")
    return tokens_of(conn, request.subject, tokens)


def _contract(conn: sa.Connection, call: Call, text: str) -> str:
    if not text:
        return ""
    name = str(ContractName.parse(text, field="contract", versioned=False))
    newest = get_newest(conn, name)
    if newest is None or not may_see(call, newest):
        raise NotFound(name)
    return name


def _redacted(call: Call) -> bool:
    return call.identity.role is not Role.PORTAL
