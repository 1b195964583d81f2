"""The client SDK: what a department system, an officer's tool, a portal or an auditor's tool calls Isthmus with.

    from isthmus.client import Client

    with Client("gateway.example:8443", cert="enrolment.pem", key="enrolment.key", ca="ca.pem") as client:
        answer = client.query(
            contract="contracts/edu-person-2026", purpose="入学审核",
            subject=("cn.resident-id", "110101199003072316"), fields=["姓名", "户籍地址"],
        )
        for row in answer.rows:
            print(row["姓名"], answer.exchange)

`AsyncClient` is the same with `await`. Everything refused is an `IsthmusError` of `isthmus.errors`, with the
reason, and the exchange to quote.
"""

from isthmus.client.aio import AsyncClient
from isthmus.client.consents import ConsentTerms
from isthmus.client.receipts import ReceiptError, VerifiedReceipt
from isthmus.client.results import BatchItem, BatchResult, ConsentReceipt, QueryResult, VerifyResult
from isthmus.client.sync import Client

__all__ = [
    "AsyncClient",
    "BatchItem",
    "BatchResult",
    "Client",
    "ConsentReceipt",
    "ConsentTerms",
    "QueryResult",
    "ReceiptError",
    "VerifiedReceipt",
    "VerifyResult",
]
