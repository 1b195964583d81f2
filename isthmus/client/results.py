"""What exchanges and consents answer, as values that are easy to use."""

from dataclasses import dataclass, field
from typing import Any

from isthmus.client.values import Python, to_rows
from isthmus.client.wire import field_bytes
from isthmus.v1.common_pb2 import Column, Receipt
from isthmus.v1.consent_service_pb2 import Consent
from isthmus.v1.exchange_service_pb2 import (
    QueryResponse,
    Verdict,
    VerifyResponse,
)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Facts about one subject.

    `exchange` is the id to quote. `subject_known` is False when the provider does not know the subject, which is
    an answer and no error. `rows` maps field names to Python values. `receipt` is evidence to keep; nobody has
    checked it until `verify_receipt` has. `row_set_bytes` are the provider's bytes, as the receipt digests them.
    """

    exchange: str
    subject_known: bool
    columns: tuple[Column, ...]
    rows: list[dict[str, Python]]
    receipt: Receipt
    row_set_bytes: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "QueryResult":
        """Reads a serialised QueryResponse."""
        response = QueryResponse.FromString(data)
        number = QueryResponse.DESCRIPTOR.fields_by_name["row_set"].number
        return cls(
            exchange=response.exchange,
            subject_known=response.subject_known,
            columns=tuple(response.row_set.columns),
            rows=to_rows(response.row_set.columns, response.row_set.rows),
            receipt=response.receipt,
            row_set_bytes=field_bytes(data, number),
        )


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """A yes, a no or an unknown. `verdict` is `YES`, `NO` or `UNKNOWN`; `receipt` is as in `QueryResult`."""

    exchange: str
    verdict: str
    receipt: Receipt

    @classmethod
    def of(cls, response: VerifyResponse) -> "VerifyResult":
        """Reads a VerifyResponse."""
        verdict = Verdict.Name(response.verdict).removeprefix("VERDICT_")
        return cls(response.exchange, verdict, response.receipt)


@dataclass(frozen=True, slots=True)
class ConsentReceipt:
    """A consent as recorded, and the gateway's signed receipt for the person (JWS)."""

    consent: Consent
    receipt: str

    @classmethod
    def of(cls, response: Any) -> "ConsentReceipt":
        """Reads a GrantConsentResponse or a WithdrawConsentResponse."""
        return cls(response.consent, response.receipt)
