"""The dry run of other terms on a contract's recorded past."""

from datetime import datetime

from isthmus.client.calls import Call, path
from isthmus.terms import timestamp
from isthmus.v1.contract_service_pb2 import ContractTerms, DryRunContractRequest, DryRunContractResponse


def dry_run_contract(
    contract: str, terms: ContractTerms, since: datetime | None
) -> Call[DryRunContractResponse]:
    """The call of `Contracts.dry_run`."""
    request = DryRunContractRequest(
        contract=contract, terms=terms, since=None if since is None else timestamp(since)
    )
    return Call(path("ContractService", "DryRunContract"), request, lambda response: response)
