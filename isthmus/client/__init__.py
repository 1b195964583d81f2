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

Where the calling program uses OpenTelemetry, calls carry its current trace by themselves; `with traced("00-…"):` gives them
one by hand.
"""

from isthmus.client.aio import AsyncClient
from isthmus.client.batch import AsyncBatchItems, BatchItem, BatchItems, BatchResult
from isthmus.client.consents import ConsentTerms
from isthmus.client.receipts import ReceiptError, VerifiedReceipt
from isthmus.client.results import ConsentReceipt, QueryResult, VerifyResult
from isthmus.client.streams import AsyncRowStream, RowStream, StreamPart, StreamResult
from isthmus.client.sync import Client
from isthmus.client.traces import traced

__all__ = [
    "AsyncBatchItems",
    "AsyncClient",
    "AsyncRowStream",
    "BatchItem",
    "BatchItems",
    "BatchResult",
    "Client",
    "ConsentReceipt",
    "ConsentTerms",
    "QueryResult",
    "ReceiptError",
    "RowStream",
    "StreamPart",
    "StreamResult",
    "VerifiedReceipt",
    "VerifyResult",
    "traced",
]
