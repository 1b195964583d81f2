"""What happened before the demonstration: a case of weeks ago that nobody answered, written as the gateway of then
would have written it."""

import shutil
from datetime import UTC, datetime, timedelta
from typing import Final

from audit.keys import load_log_key
from audit.ledger import Ledger
from gateway.catalogue.publish import publish
from gateway.contracts.propose import propose
from gateway.rulebook import Rulebook
from gateway.state.change import Call, Control
from gateway.state.schema import METADATA
from isthmus.demo.parties import officer
from isthmus.demo.scenario import Contract
from isthmus.demo.stage import Stage
from isthmus.terms import document_to_terms
from isthmus.v1.catalog_service_pb2 import PublishDatasetRequest
from isthmus.v1.contract_service_pb2 import ProposeContractRequest

RULES: Final = "china-809"
"""The rule pack that the old case began under: it gives ten working days to answer."""

AGO: Final = timedelta(days=45)
"""Longer than ten working days, whatever holidays lie between."""


def leave_unanswered(stage: Stage, contract: Contract) -> None:
    """Publishes a contract's dataset and proposes the contract, both at a time in the past, before any server runs.

    Raises:
        IsthmusError: it cannot be proposed.
    """
    then = datetime.now(UTC) - AGO
    ledger = Ledger.open(
        f"sqlite:///{stage.shared.ledger}",
        log_key=load_log_key(stage.shared.log_key),
        pin=stage.pin,
        clock=lambda: then,
        metadata=[METADATA],
    )
    try:
        _publish(Control(ledger, clock=lambda: then), stage, contract)
        _propose(Control(ledger, clock=lambda: then, rulebook=Rulebook.load(RULES)), stage, contract, then)
    finally:
        ledger.close()
    # As an operator does who adds a server to a ledger that has records already.
    shutil.copyfile(stage.pin, stage.audit_pin)


def _publish(control: Control, stage: Stage, contract: Contract) -> None:
    named = f"departments/{contract.provider}/datasets/{contract.dataset}"
    dataset = next(each for _, each in stage.datasets() if each.name == named)
    publish(
        control,
        _call(control, stage, contract.provider, "PublishDataset"),
        PublishDatasetRequest(dataset=dataset),
    )


def _propose(control: Control, stage: Stage, contract: Contract, then: datetime) -> None:
    request = ProposeContractRequest(
        contract_id=contract.id,
        terms=document_to_terms(contract.document(then)),
        reason=f"{contract.purposes[0]} ({contract.legal_citation})",
    )
    propose(control, _call(control, stage, contract.consumer, "ProposeContract"), request)


def _call(control: Control, stage: Stage, department: str, method: str) -> Call:
    credentials = stage.parties.credentials(officer(department))
    return control.call(stage.parties.identity(officer(department)), credentials.thumbprint, method)
