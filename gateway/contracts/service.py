"""ContractService: the thin layer between gRPC and the contracts."""

import grpc

from gateway.contracts.counter import counter
from gateway.contracts.extend import extend_answer
from gateway.contracts.propose import propose
from gateway.contracts.queries import get_contract, list_contracts, list_events
from gateway.contracts.reject import reject
from gateway.contracts.resume import resume
from gateway.contracts.sign import sign
from gateway.contracts.supplement import request_supplement, supplement
from gateway.contracts.suspend import suspend
from gateway.contracts.terminate import terminate
from gateway.contracts.withdraw import withdraw
from gateway.dryrun.contract import ContractDryRun
from gateway.emergency.queries import list_emergency_uses
from gateway.emergency.review import review_emergency_use
from gateway.state.calls import call_of
from gateway.state.change import Call, Control
from isthmus.errors import Unimplemented
from isthmus.statement import StatementVerifier
from isthmus.v1 import contract_service_pb2 as pb
from isthmus.v1.contract_service_pb2_grpc import ContractServiceServicer


class ContractService(ContractServiceServicer):
    """Serves contracts.

    Args:
        control: runs the calls.
        verifier: checks officers' signatures.
        dry_run: tries other terms on the recorded past; without it DryRunContract is not served.
    """

    def __init__(
        self, control: Control, *, verifier: StatementVerifier, dry_run: ContractDryRun | None = None
    ) -> None:
        self._control = control
        self._verifier = verifier
        self._dry_run = dry_run

    def ProposeContract(
        self, request: pb.ProposeContractRequest, context: grpc.ServicerContext
    ) -> pb.ProposeContractResponse:
        return propose(self._control, self._call(context, "ProposeContract"), request)

    def CounterContract(
        self, request: pb.CounterContractRequest, context: grpc.ServicerContext
    ) -> pb.CounterContractResponse:
        return counter(self._control, self._call(context, "CounterContract"), request)

    def SignContract(
        self, request: pb.SignContractRequest, context: grpc.ServicerContext
    ) -> pb.SignContractResponse:
        return sign(self._control, self._call(context, "SignContract"), request, verifier=self._verifier)

    def RejectContract(
        self, request: pb.RejectContractRequest, context: grpc.ServicerContext
    ) -> pb.RejectContractResponse:
        return reject(self._control, self._call(context, "RejectContract"), request)

    def WithdrawContract(
        self, request: pb.WithdrawContractRequest, context: grpc.ServicerContext
    ) -> pb.WithdrawContractResponse:
        return withdraw(self._control, self._call(context, "WithdrawContract"), request)

    def SuspendContract(
        self, request: pb.SuspendContractRequest, context: grpc.ServicerContext
    ) -> pb.SuspendContractResponse:
        return suspend(self._control, self._call(context, "SuspendContract"), request)

    def ResumeContract(
        self, request: pb.ResumeContractRequest, context: grpc.ServicerContext
    ) -> pb.ResumeContractResponse:
        return resume(self._control, self._call(context, "ResumeContract"), request)

    def TerminateContract(
        self, request: pb.TerminateContractRequest, context: grpc.ServicerContext
    ) -> pb.TerminateContractResponse:
        return terminate(self._control, self._call(context, "TerminateContract"), request)

    def GetContract(
        self, request: pb.GetContractRequest, context: grpc.ServicerContext
    ) -> pb.GetContractResponse:
        call = self._call(context, "GetContract")
        with self._control.read(call) as conn:
            return get_contract(conn, call, request, self._control.rulebook)

    def ListContracts(
        self, request: pb.ListContractsRequest, context: grpc.ServicerContext
    ) -> pb.ListContractsResponse:
        call = self._call(context, "ListContracts")
        with self._control.read(call) as conn:
            return list_contracts(conn, call, request, self._control.rulebook)

    def ListContractEvents(
        self, request: pb.ListContractEventsRequest, context: grpc.ServicerContext
    ) -> pb.ListContractEventsResponse:
        call = self._call(context, "ListContractEvents")
        with self._control.read(call) as conn:
            return list_events(conn, call, request)

    def RequestSupplement(
        self, request: pb.RequestSupplementRequest, context: grpc.ServicerContext
    ) -> pb.RequestSupplementResponse:
        return request_supplement(self._control, self._call(context, "RequestSupplement"), request)

    def SupplementContract(
        self, request: pb.SupplementContractRequest, context: grpc.ServicerContext
    ) -> pb.SupplementContractResponse:
        return supplement(self._control, self._call(context, "SupplementContract"), request)

    def ExtendAnswer(
        self, request: pb.ExtendAnswerRequest, context: grpc.ServicerContext
    ) -> pb.ExtendAnswerResponse:
        return extend_answer(self._control, self._call(context, "ExtendAnswer"), request)

    def DryRunContract(
        self, request: pb.DryRunContractRequest, context: grpc.ServicerContext
    ) -> pb.DryRunContractResponse:
        if self._dry_run is None:
            raise Unimplemented("DryRunContract")
        return self._dry_run.run(self._call(context, "DryRunContract"), request)

    def ListEmergencyUses(
        self, request: pb.ListEmergencyUsesRequest, context: grpc.ServicerContext
    ) -> pb.ListEmergencyUsesResponse:
        call = self._call(context, "ListEmergencyUses")
        with self._control.read(call) as conn:
            return list_emergency_uses(conn, call, request)

    def ReviewEmergencyUse(
        self, request: pb.ReviewEmergencyUseRequest, context: grpc.ServicerContext
    ) -> pb.ReviewEmergencyUseResponse:
        return review_emergency_use(self._control, self._call(context, "ReviewEmergencyUse"), request)

    def _call(self, context: grpc.ServicerContext, method: str) -> Call:
        return call_of(self._control, context, method)
