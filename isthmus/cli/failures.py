"""How a command fails: one block that says what was refused, by which rule, what would make it pass, what to quote."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import grpc
import typer

from isthmus.cli.connection import NotConnected
from isthmus.cli.output import clean
from isthmus.cli.part_file import PartFileError
from isthmus.client import ReceiptError
from isthmus.config import ConfigError
from isthmus.errors import IsthmusError, Reason
from isthmus.identity import IdentityError
from isthmus.pki import CredentialsError

FAILED: Final = 1
DENIED: Final = 3
UNAVAILABLE: Final = 4

_EXPECTED: Final = (
    NotConnected,
    ConfigError,
    CredentialsError,
    IdentityError,
    ReceiptError,
    PartFileError,
    ModuleNotFoundError,
    OSError,
)
_DENIED_CODES: Final = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
_UNAVAILABLE_CODES: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

REMEDIES: Final[Mapping[Reason, str]] = {
    Reason.IDENTITY_INVALID: "use a valid certificate with exactly one SPIFFE URI; isthmus pki show tells",
    Reason.CREDENTIAL_DENIED: "ask the operator why the certificate was denied; a new one is needed",
    Reason.ROLE_NOT_ALLOWED: "use the certificate of a role that may do this",
    Reason.NOT_A_PARTY: "use the certificate of a department that owns it or is a party to it",
    Reason.NO_CONTRACT: "propose a contract: isthmus contract propose",
    Reason.CONTRACT_NOT_SIGNED: "both departments must sign: isthmus contract sign",
    Reason.CONTRACT_NOT_YET_VALID: "wait until the contract's period begins",
    Reason.CONTRACT_EXPIRED: "agree on a contract with a later period",
    Reason.CONTRACT_SUSPENDED: "the party that suspended the contract must resume it",
    Reason.CONTRACT_ENDED: "agree on a new contract",
    Reason.SYSTEM_NOT_LISTED: "use a system that the contract lists, or agree on a version that lists this one",
    Reason.PURPOSE_NOT_ALLOWED: "state a purpose of the contract, word for word",
    Reason.FIELDS_OUTSIDE_CONTRACT: "ask only for fields of the contract",
    Reason.MODE_NOT_ALLOWED: "use a mode that the contract allows",
    Reason.EVIDENCE_MISSING: "give the case reference that the legal basis needs: --case",
    Reason.SCHEME_NOT_ALLOWED: "use the identifier scheme of the dataset: isthmus catalog show",
    Reason.DATASET_UNAVAILABLE: "the provider must publish the dataset again",
    Reason.DATASET_REFUSED: "none: the dataset's sharing class forbids sharing it",
    Reason.CONSENT_MISSING: "the person must consent, at a portal or a counter",
    Reason.CONSENT_WITHDRAWN: "the person has ended the consent; only a new one of theirs helps",
    Reason.CONSENT_PAUSED: "the person must end the pause",
    Reason.CONSENT_EXPIRED: "the person must consent again",
    Reason.CONSENT_PURPOSE: "state a purpose that the person consented to",
    Reason.CONSENT_FIELDS: "ask only for fields that the person consented to",
    Reason.CONSENT_MODE: "use a mode that the person consented to",
    Reason.CONSENT_TERMS_CHANGED: "the person must consent to the contract's present version",
    Reason.QUOTA_EXHAUSTED: "wait for the quota's next window, or agree on a larger quota",
    Reason.RATE_LIMITED: "send more slowly; the answer says after which time a call is taken again",
    Reason.BREAK_GLASS_NOT_ALLOWED: "ask without --emergency, or agree on a version with break_glass for this system",
    Reason.TWO_PERSON_RULE: "have another officer of your department do it: who submitted may not also approve",
    Reason.CONDITION_NOT_PUBLISHED: "cite a condition word for word as the catalogue entry publishes it, or another reason",
    Reason.ELEMENT_HAS_SOURCE: "leave source out, or say in second_source_reason why there is a second source",
    Reason.POLICY_ERROR: "tell the operator; the policy could not be evaluated, so it refused",
    Reason.PROVIDER_VETO: "ask the provider: its own manifest refuses this",
    Reason.GRANT_INVALID: "tell the operator; the provider refused the gateway's grant",
    Reason.DEPARTMENT_UNAVAILABLE: "check the address, or try again later",
    Reason.DEPARTMENT_TIMEOUT: "try again later",
    Reason.DEPARTMENT_MISBEHAVED: "tell the provider and the operator, with the exchange",
    Reason.LEDGER_UNAVAILABLE: "try again later",
    Reason.OVERLOADED: "try again later",
    Reason.DEADLINE_EXCEEDED: "try again, or allow more time: --deadline",
    Reason.CANCELLED: "try again",
    Reason.GATEWAY_DENIED: "ask at another gateway; the operator of this one must give it a new certificate",
    Reason.LEDGER_UNWITNESSED: "tell the operator: the log's witnesses or its timestamp authority must answer again",
    Reason.INVALID_ARGUMENT: "correct what is named above",
    Reason.NOT_FOUND: "check the name; you may also lack the right to see it",
    Reason.ALREADY_EXISTS: "choose another name",
    Reason.STATE_CONFLICT: "bring it into a state that allows the change",
    Reason.ETAG_MISMATCH: "read it again and repeat",
    Reason.STATEMENT_INVALID: "read it again, and sign what you have examined",
    Reason.TERMS_INVALID: "correct what is named above; isthmus catalog show lists fields and transforms",
    Reason.UNIMPLEMENTED: "use a server whose version offers this",
    Reason.INTERNAL: "tell the operator, with what stands below",
}


def exit_code_of(error: Exception) -> int | None:
    """Returns the exit code of a failure; None for typer's own exceptions, which it ends itself."""
    if isinstance(error, IsthmusError):
        return exit_code(error)
    if isinstance(error, _EXPECTED):
        return FAILED
    if type(error).__module__.startswith("typer") or os.environ.get("ISTHMUS_DEBUG"):
        return None
    return FAILED


def exit_code(error: IsthmusError) -> int:
    """Returns 3 for a denial, 4 for what may work later, 1 for the rest."""
    # A used-up quota is a rule of the contract, unlike a busy server with the same status.
    if error.code in _DENIED_CODES or error.reason is Reason.QUOTA_EXHAUSTED:
        return DENIED
    return UNAVAILABLE if error.code in _UNAVAILABLE_CODES else FAILED


def report(error: Exception) -> None:
    """Writes the block to standard error."""
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has gone; Python would complain once more when it closes the stream.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
        return
    for line in _lines(error):
        typer.echo(clean(line), err=True)


def _lines(error: Exception) -> Iterator[str]:
    if isinstance(error, IsthmusError):
        yield from _refusal(error)
    elif isinstance(error, OSError) and error.filename is not None:
        yield f"failed: {error.filename}: {error.strerror}"
    elif isinstance(error, _EXPECTED):
        yield f"failed: {error}"
    else:
        yield f"failed: an unforeseen fault of this command ({type(error).__name__})"
        yield "  help      set ISTHMUS_DEBUG=1 and repeat to see where"


def _refusal(error: IsthmusError) -> Iterator[str]:
    word = {DENIED: "denied", UNAVAILABLE: "unavailable"}.get(exit_code(error), "refused")
    yield f"{word}: {error.message or error.reason.name}"
    for reason in error.reasons:
        yield f"  rule      {reason.name}"
        if remedy := REMEDIES.get(reason):
            yield f"  remedy    {remedy}"
    if error.retry_after is not None:
        yield f"  retry     in {error.retry_after.total_seconds():g} s"
    if error.exchange:
        yield f"  exchange  {error.exchange} (quote it when asking)"
    if fault := error.metadata.get("fault"):
        yield f"  fault     {fault} (quote it when asking)"
