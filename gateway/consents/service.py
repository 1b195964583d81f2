"""ConsentService: the thin layer between gRPC and the consents."""

import grpc

from gateway.consents.grant import grant
from gateway.consents.move import move
from gateway.consents.queries import get_consent_for, list_consents, list_uses
from gateway.consents.request import request_consent
from gateway.consents.states import ConsentEventType
from gateway.consents.view import consent_of
from gateway.consents.withdraw import withdraw
from gateway.state.calls import call_of
from gateway.state.change import Call, Control
from isthmus.identity import Role
from isthmus.pki import Credentials
from isthmus.statement import StatementVerifier
from isthmus.subjects import SubjectTokens
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1.consent_service_pb2_grpc import ConsentServiceServicer


class ConsentService(ConsentServiceServicer):
    """Serves consents.

    Args:
        control: runs the calls.
        verifier: checks portals' statements.
        tokens: turns identifiers into keyed tokens.
        credentials: the gateway's own; it signs receipts with them.
    """

    def __init__(
        self,
        control: Control,
        *,
        verifier: StatementVerifier,
        tokens: SubjectTokens,
        credentials: Credentials,
    ) -> None:
        self._control = control
        self._verifier = verifier
        self._tokens = tokens
        self._credentials = credentials

    def RequestConsent(
        self, request: pb.RequestConsentRequest, context: grpc.ServicerContext
    ) -> pb.RequestConsentResponse:
        call = self._call(context, "RequestConsent")
        return request_consent(self._control, call, request, tokens=self._tokens)

    def GrantConsent(
        self, request: pb.GrantConsentRequest, context: grpc.ServicerContext
    ) -> pb.GrantConsentResponse:
        return grant(
            self._control,
            self._call(context, "GrantConsent"),
            request,
            verifier=self._verifier,
            tokens=self._tokens,
            credentials=self._credentials,
        )

    def RefuseConsent(
        self, request: pb.RefuseConsentRequest, context: grpc.ServicerContext
    ) -> pb.RefuseConsentResponse:
        call = self._call(context, "RefuseConsent")
        return pb.RefuseConsentResponse(consent=self._move(call, ConsentEventType.REFUSED, request))

    def PauseConsent(
        self, request: pb.PauseConsentRequest, context: grpc.ServicerContext
    ) -> pb.PauseConsentResponse:
        call = self._call(context, "PauseConsent")
        return pb.PauseConsentResponse(consent=self._move(call, ConsentEventType.PAUSED, request))

    def ResumeConsent(
        self, request: pb.ResumeConsentRequest, context: grpc.ServicerContext
    ) -> pb.ResumeConsentResponse:
        call = self._call(context, "ResumeConsent")
        return pb.ResumeConsentResponse(consent=self._move(call, ConsentEventType.RESUMED, request))

    def WithdrawConsent(
        self, request: pb.WithdrawConsentRequest, context: grpc.ServicerContext
    ) -> pb.WithdrawConsentResponse:
        call = self._call(context, "WithdrawConsent")
        return withdraw(self._control, call, request, credentials=self._credentials)

    def RevokeConsent(
        self, request: pb.RevokeConsentRequest, context: grpc.ServicerContext
    ) -> pb.RevokeConsentResponse:
        call = self._call(context, "RevokeConsent")
        return pb.RevokeConsentResponse(consent=self._move(call, ConsentEventType.REVOKED, request))

    def InvalidateConsent(
        self, request: pb.InvalidateConsentRequest, context: grpc.ServicerContext
    ) -> pb.InvalidateConsentResponse:
        call = self._call(context, "InvalidateConsent")
        return pb.InvalidateConsentResponse(consent=self._move(call, ConsentEventType.INVALIDATED, request))

    def GetConsent(
        self, request: pb.GetConsentRequest, context: grpc.ServicerContext
    ) -> pb.GetConsentResponse:
        call = self._call(context, "GetConsent")
        with self._control.read(call) as conn:
            return get_consent_for(conn, call, request, self._tokens)

    def ListConsents(
        self, request: pb.ListConsentsRequest, context: grpc.ServicerContext
    ) -> pb.ListConsentsResponse:
        call = self._call(context, "ListConsents")
        with self._control.read(call) as conn:
            return list_consents(conn, call, request, self._tokens)

    def ListConsentUses(
        self, request: pb.ListConsentUsesRequest, context: grpc.ServicerContext
    ) -> pb.ListConsentUsesResponse:
        call = self._call(context, "ListConsentUses")
        with self._control.read(call) as conn:
            return list_uses(conn, call, request, self._tokens)

    def _call(self, context: grpc.ServicerContext, method: str) -> Call:
        return call_of(self._control, context, method)

    def _move(self, call: Call, event: ConsentEventType, request: "_Named") -> pb.Consent:
        row, contract = move(self._control, call, event, name=request.name, reason=request.reason)
        redacted = call.identity.role is not Role.PORTAL
        return consent_of(row, self._control.clock(), contract=contract, redacted=redacted)


_Named = (
    pb.RefuseConsentRequest
    | pb.PauseConsentRequest
    | pb.ResumeConsentRequest
    | pb.RevokeConsentRequest
    | pb.InvalidateConsentRequest
)
