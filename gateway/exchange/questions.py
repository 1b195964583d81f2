"""Requests as what is asked: who asks, from the certificate, and for what, from the message."""

from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.message import Message

from gateway.exchange.item import Asked, Mode
from isthmus.errors import InvalidArgument
from isthmus.identity import Identity
from isthmus.names import ContractName
from isthmus.rpc import Caller
from isthmus.terms import predicate_to_json
from isthmus.v1.common_pb2 import OPERATOR_IN, Predicate, Subject
from isthmus.v1.exchange_service_pb2 import (
    ExchangeContext,
    ExplainRequest,
    QueryRequest,
    StreamRequest,
    VerifyRequest,
)


def of_query(request: QueryRequest, caller: Caller, *, at: str = "") -> Asked:
    """Returns what a Query asks. `at` is the path of the request within another; InvalidArgument names fields."""
    return asked_of(
        request,
        request.context,
        caller,
        mode=Mode.QUERY,
        fields=request.fields,
        subject=request.subject,
        at=at,
    )


def of_verify(request: VerifyRequest, caller: Caller, *, at: str = "") -> Asked:
    """Returns what a Verify asks. Arguments and errors as for `of_query`."""
    predicate = request.predicate
    if predicate.operator != OPERATOR_IN and len(predicate.values) != 1:
        raise InvalidArgument(f"{at}predicate.values", "must hold exactly one value, except for OPERATOR_IN")
    return asked_of(
        request,
        request.context,
        caller,
        mode=Mode.VERIFY,
        fields=[predicate.field],
        subject=request.subject,
        predicate=predicate,
        at=at,
    )


def of_stream(request: StreamRequest, caller: Caller, *, at: str = "") -> Asked:
    """Returns what a Stream asks. Arguments and errors as for `of_query`."""
    for number, predicate in enumerate(request.filters):
        if predicate.operator != OPERATOR_IN and len(predicate.values) != 1:
            words = "must hold exactly one value, except for OPERATOR_IN"
            raise InvalidArgument(f"{at}filters[{number}].values", words)
        if predicate.field not in request.fields:
            words = "must be one of `fields`: which rows come tells the value as much as the value does"
            raise InvalidArgument(f"{at}filters[{number}].field", words)
    asked = asked_of(request, request.context, caller, mode=Mode.STREAM, fields=request.fields, at=at)
    compared = tuple(dict.fromkeys(each.field for each in request.filters))
    return replace(asked, compared=compared, resumed=bool(request.resume_token))


def of_explain(request: ExplainRequest, caller: Caller) -> Asked:
    """Returns what the exchange would ask that an Explain thinks of."""
    kind = request.WhichOneof("exchange")
    if kind == "query":
        return of_query(request.query, caller, at="query.")
    if kind == "verify":
        return of_verify(request.verify, caller, at="verify.")
    return of_stream(request.stream, caller, at="stream.")


def asked_of(
    request: Message,
    context: ExchangeContext,
    caller: Caller,
    *,
    mode: Mode,
    fields: Iterable[str],
    subject: Subject | None = None,
    predicate: Predicate | None = None,
    at: str,
) -> Asked:
    """Returns what an exchange of any mode asks. Arguments and errors as for `of_query`."""
    contract = ContractName.parse(context.contract, field=f"{at}context.contract", versioned=False)
    identity: Identity = caller.identity
    if context.emergency and not context.emergency.strip():
        raise InvalidArgument(f"{at}context.emergency", "must say why this is an emergency, or be empty")
    return Asked(
        caller=identity.uri,
        certificate=caller.thumbprint,
        system=identity.resource,
        consumer=f"departments/{identity.department}",
        mode=mode,
        contract=str(contract),
        purpose=context.purpose,
        case_reference=context.case_reference,
        fields=tuple(fields),
        scheme=subject.scheme if subject is not None else "",
        identifier=subject.id if subject is not None else "",
        predicate=predicate_to_json(predicate) if predicate is not None else None,
        request=request.SerializeToString(deterministic=True),
        emergency=context.emergency,
        trace=caller.trace,
    )
