"""Peer (d)'s policy service: answers Envoy's ext_authz check with the gateway's own Cedar policy.

It keeps contract and consent in memory and reads and writes nothing, so that it costs the least that such a service
can cost: the caller's identity from Envoy, the question from the request's bytes, one remembered decision.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import code_pb2, status_pb2

from gateway.policy.engine import PolicyEngine
from gateway.policy.facts import ConsentFacts, ContractFacts, DatasetFacts, Facts
from isthmus.demo.parties import TRUST_DOMAIN
from isthmus.identity import Identity
from isthmus.v1.exchange_service_pb2 import QueryRequest
from tests.bench import job, town

_PACKAGE: Final = "envoy.service.auth.v3"
_METHOD: Final = f"/{_PACKAGE}.Authorization/Check"
_FRAME: Final = 5
"""The length prefix of a gRPC message in an HTTP/2 body."""

# The part of Envoy's messages that is read here, with the field numbers of envoy/service/auth/v3; what is not named
# is skipped by the parser.
_MESSAGES: Final = {
    "CheckRequest": (("attributes", 1, "AttributeContext"),),
    "AttributeContext": (("source", 1, "Peer"), ("request", 4, "Request")),
    "Peer": (("principal", 4, "string"),),
    "Request": (("http", 2, "HttpRequest"),),
    "HttpRequest": (("path", 4, "string"), ("raw_body", 12, "bytes")),
    "CheckResponse": (("status", 1, "bytes"),),
}


def message_classes() -> dict[str, Any]:
    """The classes of the messages, by name."""
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="isthmus_bench_ext_authz.proto", package=_PACKAGE)
    file.syntax = "proto3"
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for member, number, kind in members:
            added = message.field.add(name=member, number=number, label=field.LABEL_OPTIONAL)
            added.type = scalars.get(kind, field.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(found[name]) for name in _MESSAGES}


class Authorizer(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in its stubs only
    """Answers Check.

    Args:
        version: `contracts/{contract}@{version}`.
        terms_digest: of its terms.
    """

    def __init__(self, version: str, terms_digest: str) -> None:
        self._classes = message_classes()
        self._engine = PolicyEngine()
        self._contract = _contract(version, terms_digest)
        self._consent = _consent(self._contract)
        self._handler = grpc.unary_unary_rpc_method_handler(self._check)
        self._allowed, self._denied = (
            self._response(code) for code in (code_pb2.OK, code_pb2.PERMISSION_DENIED)
        )

    def service(self, details: grpc.HandlerCallDetails) -> job.Handler | None:
        """The one method."""
        return self._handler if details.method == _METHOD else None

    def _response(self, code: int) -> bytes:
        status = status_pb2.Status(code=code).SerializeToString()
        # An empty Status has no bytes, and the field must be there all the same.
        response: bytes = self._classes["CheckResponse"](status=status).SerializeToString() or b"\x0a\x00"
        return response

    async def _check(self, request: bytes, _: Any) -> bytes:
        return self.answer(request)

    def answer(self, request: bytes) -> bytes:
        """The CheckResponse to a CheckRequest: OK or PERMISSION_DENIED."""
        attributes = self._classes["CheckRequest"].FromString(request).attributes
        query = QueryRequest.FromString(attributes.request.http.raw_body[_FRAME:])
        facts = self.facts(attributes.source.principal, query)
        return self._allowed if self._engine.decide(facts).allowed else self._denied

    def facts(self, principal: str, query: QueryRequest) -> Facts:
        """What the decision depends on, as the gateway puts it together: who calls, as Envoy says, and what for."""
        caller, now = Identity.parse(principal, trust_domain=TRUST_DOMAIN), datetime.now(UTC)
        return Facts(
            system=caller.resource,
            consumer=f"departments/{caller.department}",
            contract_name=query.context.contract,
            mode="QUERY",
            purpose=query.context.purpose,
            fields=frozenset(query.fields),
            scheme=query.subject.scheme,
            hour=now.hour,
            weekday=now.isoweekday(),
            case_reference_given=bool(query.context.case_reference.strip()),
            contract=self._contract,
            dataset=_DATASET,
            consent=self._consent,
        )


_DATASET: Final = DatasetFacts(
    retired=False,
    sharing_class="CONDITIONAL",
    scheme=town.SCHEME,
    sensitivities=frozenset({"PERSONAL"}),
)


def _contract(version: str, terms_digest: str) -> ContractFacts:
    return ContractFacts(
        name=version,
        version=1,
        terms_digest=terms_digest,
        provider=f"departments/{town.PROVIDER}",
        dataset=town.DATASET,
        state="ACTIVE",
        signed_by_both=True,
        begun=True,
        over=False,
        systems=frozenset({f"departments/{town.CONSUMER}/systems/enrolment"}),
        purposes=frozenset({town.PURPOSE}),
        fields=frozenset(town.QUERY_FIELDS),
        modes=frozenset({"QUERY", "VERIFY", "BATCH"}),
        legal_basis="CONSENT",
    )


def _consent(contract: ContractFacts) -> ConsentFacts:
    return ConsentFacts(
        state="ACTIVE",
        begun=True,
        over=False,
        contract=contract.name,
        terms_digest=contract.terms_digest,
        purposes=contract.purposes,
        fields=contract.fields,
        modes=frozenset({"QUERY"}),
    )


async def serve(settings: dict[str, Any]) -> None:
    """Serves on loopback without TLS: the cheapest, for the peer's benefit."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Authorizer(settings["version"], settings["terms_digest"]),))
    server.add_insecure_port(settings["address"])
    await server.start()
    job.write({"ready": True})
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(job.Inbox().read()))
