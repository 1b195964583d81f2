"""The role × method table, and that nothing outside it is ever allowed."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.access import ControlAuthoriser, ControlPolicyInvalid
from isthmus.errors import PermissionDenied
from isthmus.identity import Identity, Role
from isthmus.reasons import Reason
from isthmus.v1 import (
    audit_service_pb2,
    catalog_service_pb2,
    consent_service_pb2,
    contract_service_pb2,
    department_service_pb2,
    exchange_service_pb2,
)

FILES = (
    catalog_service_pb2,
    contract_service_pb2,
    consent_service_pb2,
    exchange_service_pb2,
    department_service_pb2,
    audit_service_pb2,
)

EVERYBODY = "system node officer portal auditor operator"
PARTIES = "officer system node portal auditor"
CHECKERS = "auditor officer portal system node operator gateway"
WHO_MAY = {
    "CatalogService": {
        "PublishDataset RetireDataset": "officer node",
        "GetDataset ListDatasets GetDepartment ListDepartments": EVERYBODY,
    },
    "ContractService": {
        "ProposeContract CounterContract SignContract RejectContract WithdrawContract": "officer",
        "SuspendContract ResumeContract TerminateContract": "officer",
        "GetContract ListContracts": PARTIES,
        "RequestSupplement SupplementContract ExtendAnswer ReviewEmergencyUse DryRunContract": "officer",
        "ListContractEvents ListEmergencyUses": "officer auditor",
    },
    "ConsentService": {
        "RequestConsent GrantConsent RefuseConsent PauseConsent ResumeConsent WithdrawConsent": "portal",
        "ListConsentUses": "portal",
        "RevokeConsent InvalidateConsent GetConsent ListConsents": "portal officer",
    },
    "ExchangeService": {"Query BatchQuery Verify Stream Explain": "system"},
    "DepartmentService": {"Describe Fetch StreamRows": "gateway"},
    "AuditService": {
        "ListRecords GetRecord ExportRecords CountRecords": "auditor officer",
        "ReportContract ReportDepartmentUse": "auditor officer",
        "ReportAnomalies ExportEvidence": "auditor",
        "ReportSubjectAccess": "auditor officer portal",
        "GetProof": "auditor officer system node",
        "GetCheckpoint GetConsistencyProof": CHECKERS,
    },
}
TABLE = {
    f"/isthmus.v1.{service}/{method}": frozenset(Role(role) for role in roles.split())
    for service, rows in WHO_MAY.items()
    for methods, roles in rows.items()
    for method in methods.split()
}


def methods() -> Iterator[str]:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}"


def caller(role: Role) -> Identity:
    return Identity("data.example", role, "education" if role.departmental else None, "one")


@pytest.fixture(scope="module")
def authorise() -> ControlAuthoriser:
    return ControlAuthoriser()


def allows(authorise: ControlAuthoriser, role: Role, method: str) -> bool:
    try:
        authorise(caller(role), method)
    except PermissionDenied as refusal:
        assert refusal.reason is Reason.ROLE_NOT_ALLOWED
        return False
    return True


def test_every_method_of_the_six_services_has_a_line_in_the_table() -> None:
    assert sorted(TABLE) == sorted(methods())


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_call_exactly_what_the_table_says(authorise: ControlAuthoriser, role: Role) -> None:
    for method, roles in TABLE.items():
        assert allows(authorise, role, method) is (role in roles), (role, method)


def test_duties_are_kept_apart(authorise: ControlAuthoriser) -> None:
    reads_records = {m for m in TABLE if "AuditService" in m and ("Record" in m or "Subject" in m)}
    changes = {
        m for m in TABLE if any(word in m for word in ("Publish", "Sign", "Grant", "Revoke", "Suspend"))
    }
    assert not any(allows(authorise, Role.OPERATOR, method) for method in reads_records | changes)
    assert not any(allows(authorise, Role.AUDITOR, method) for method in changes)


@pytest.mark.parametrize(
    "method",
    [
        "",
        "/",
        "/isthmus.v1.CatalogService/",
        "/isthmus.v1.CatalogService/DropDataset",
        "/isthmus.v2.CatalogService/GetDataset",
        "/isthmus.v1.ContractService/GetDataset",
        "/isthmus.v1.CatalogService/GetDataset/x",
        "/isthmus.v1.CatalogService/getdataset",
        "/grpc.health.v1.Health/Check",
        "x" * 10_000,
    ],
)
def test_an_unknown_method_is_refused_to_everybody(authorise: ControlAuthoriser, method: str) -> None:
    assert not any(allows(authorise, role, method) for role in Role)


@given(st.text(max_size=60), st.sampled_from(list(Role)))
def test_no_text_but_a_listed_method_is_allowed(text: str, role: Role) -> None:
    authorise = ControlAuthoriser("")
    assert not allows(authorise, role, f"/isthmus.v1.CatalogService/{text}")


def test_without_rules_everything_is_refused() -> None:
    empty = ControlAuthoriser("")
    assert not any(allows(empty, role, method) for role in Role for method in TABLE)


@pytest.mark.parametrize(
    "policy",
    [
        "permit (",
        'permit (principal == Isthmus::Role::"oficer", action, resource);',
        'permit (principal, action == Isthmus::Action::"SignContracts", resource);',
        "permit (principal, action, resource) when { context.anything };",
    ],
)
def test_a_rule_that_misspells_a_name_does_not_load(policy: str) -> None:
    with pytest.raises(ControlPolicyInvalid):
        ControlAuthoriser(policy)


def test_the_digest_names_the_rules() -> None:
    assert ControlAuthoriser().digest == ControlAuthoriser().digest != ControlAuthoriser("").digest
