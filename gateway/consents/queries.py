"""GetConsent, ListConsents and ListConsentUses."""

from collections.abc import Sequence
from itertools import islice

import sqlalchemy as sa

from gateway.consents.access import contract_of_consent, may_see
from gateway.consents.subject import tokens_of
from gateway.consents.uses import Tally, tallies, used_up, uses_of
from gateway.consents.view import consent_of, use_of
from gateway.state.calls import last_number, last_text
from gateway.state.change import Call
from gateway.state.consents import ConsentRow, cursor_of, get_consent, page_of_consents
from gateway.state.contracts import ContractRow, get_newest
from isthmus.errors import InvalidArgument, NotFound
from isthmus.identity import Role
from isthmus.names import ConsentName, ContractName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.subjects import SubjectTokens
from isthmus.v1 import consent_service_pb2 as pb


def get_consent_for(
    conn: sa.Connection, call: Call, request: pb.GetConsentRequest, tokens: SubjectTokens
) -> pb.GetConsentResponse:
    """Returns one consent; an officer does not learn whose it is.

    Raises:
        NotFound: there is none, or its contract is between other departments.
    """
    row = _visible(conn, call, request.name)
    return pb.GetConsentResponse(consent=_messages(conn, call, [row], tokens)[0])


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
    return pb.ListConsentsResponse(consents=_messages(conn, call, rows[:size], tokens), next_page_token=token)


def list_uses(
    conn: sa.Connection, call: Call, request: pb.ListConsentUsesRequest, tokens: SubjectTokens
) -> pb.ListConsentUsesResponse:
    """Returns a page of who used a consent, oldest first, from the records.

    Raises:
        NotFound: there is no such consent.
        InvalidArgument: a bad page size or page token.
    """
    row = _visible(conn, call, request.name)
    size = page_size(request.page_size)
    found = uses_of(conn, row, epoch=tokens.current, first=last_number(request))
    page = list(islice(found, size + 1))
    token = next_page_token(request, (page[size].position,)) if len(page) > size else ""
    return pb.ListConsentUsesResponse(uses=map(use_of, page[:size]), next_page_token=token)


def _visible(conn: sa.Connection, call: Call, text: str) -> ConsentRow:
    name = str(ConsentName.parse(text))
    row = get_consent(conn, name)
    if row is None or not may_see(call, contract_of_consent(conn, row)):
        raise NotFound(name)
    return row


def _messages(
    conn: sa.Connection, call: Call, rows: Sequence[ConsentRow], tokens: SubjectTokens
) -> list[pb.Consent]:
    """The messages of consents, with where they stand by time, by use and by their contracts."""
    contracts = dict[str, ContractRow]()
    for row in rows:
        if row.contract not in contracts:
            contracts[row.contract] = contract_of_consent(conn, row)
    used, exhausted = tallies(conn, rows, epoch=tokens.current), used_up(conn, rows)
    return [
        consent_of(
            row,
            call.received,
            contract=contracts[row.contract],
            used_up=row.name in exhausted,
            tally=used.get(row.name, Tally()),
            redacted=call.identity.role is not Role.PORTAL,
        )
        for row in rows
    ]


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
