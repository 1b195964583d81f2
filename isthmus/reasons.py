"""The reasons of `isthmus.v1.Reason` and the gRPC status that each one answers with."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import grpc


class Reason(IntEnum):
    """Why a call was refused; names and numbers are those of proto/isthmus/v1/reason.proto."""

    UNSPECIFIED = 0
    IDENTITY_INVALID = 1
    CREDENTIAL_DENIED = 2
    ROLE_NOT_ALLOWED = 3
    NOT_A_PARTY = 4
    NO_CONTRACT = 10
    CONTRACT_NOT_SIGNED = 11
    CONTRACT_NOT_YET_VALID = 12
    CONTRACT_EXPIRED = 13
    CONTRACT_SUSPENDED = 14
    CONTRACT_ENDED = 15
    SYSTEM_NOT_LISTED = 16
    PURPOSE_NOT_ALLOWED = 17
    FIELDS_OUTSIDE_CONTRACT = 18
    MODE_NOT_ALLOWED = 19
    EVIDENCE_MISSING = 20
    SCHEME_NOT_ALLOWED = 21
    DATASET_UNAVAILABLE = 30
    DATASET_REFUSED = 31
    CONSENT_MISSING = 40
    CONSENT_WITHDRAWN = 41
    CONSENT_PAUSED = 42
    CONSENT_EXPIRED = 43
    CONSENT_PURPOSE = 44
    CONSENT_FIELDS = 45
    CONSENT_MODE = 46
    CONSENT_TERMS_CHANGED = 47
    QUOTA_EXHAUSTED = 50
    RATE_LIMITED = 51
    BREAK_GLASS_NOT_ALLOWED = 55
    POLICY_ERROR = 60
    PROVIDER_VETO = 70
    GRANT_INVALID = 71
    DEPARTMENT_UNAVAILABLE = 72
    DEPARTMENT_TIMEOUT = 73
    DEPARTMENT_MISBEHAVED = 74
    LEDGER_UNAVAILABLE = 80
    OVERLOADED = 81
    DEADLINE_EXCEEDED = 82
    CANCELLED = 83
    GATEWAY_DENIED = 84
    LEDGER_UNWITNESSED = 85
    INVALID_ARGUMENT = 90
    NOT_FOUND = 91
    ALREADY_EXISTS = 92
    STATE_CONFLICT = 93
    ETAG_MISMATCH = 94
    STATEMENT_INVALID = 95
    TERMS_INVALID = 96
    TWO_PERSON_RULE = 99
    CONDITION_NOT_PUBLISHED = 100
    ELEMENT_HAS_SOURCE = 101
    UNIMPLEMENTED = 97
    INTERNAL = 98


_OTHER_THAN_DENIED: Final[Mapping[Reason, grpc.StatusCode]] = {
    Reason.UNSPECIFIED: grpc.StatusCode.INTERNAL,
    Reason.IDENTITY_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.QUOTA_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEPARTMENT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEPARTMENT_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEPARTMENT_MISBEHAVED: grpc.StatusCode.UNAVAILABLE,
    Reason.LEDGER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.GATEWAY_DENIED: grpc.StatusCode.UNAVAILABLE,
    Reason.LEDGER_UNWITNESSED: grpc.StatusCode.UNAVAILABLE,
    Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.STATE_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.STATEMENT_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TERMS_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONDITION_NOT_PUBLISHED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ELEMENT_HAS_SOURCE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def status_code(reason: Reason) -> grpc.StatusCode:
    """The gRPC status of a refusal. What a rule refuses is PERMISSION_DENIED; the table holds the rest."""
    return _OTHER_THAN_DENIED.get(reason, grpc.StatusCode.PERMISSION_DENIED)
