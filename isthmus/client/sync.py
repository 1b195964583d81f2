"""The blocking client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from isthmus.client.audit import Audit
from isthmus.client.catalog import Catalog
from isthmus.client.connection import DEFAULT_SERVER, Target, credentials_from_files, target
from isthmus.client.consents import Consents
from isthmus.client.contracts import Contracts
from isthmus.client.emergencies import Emergencies
from isthmus.client.exchange import Exchange
from isthmus.client.receipts import VerifiedReceipt, verifier_of, verify_receipt
from isthmus.client.results import QueryResult, VerifyResult
from isthmus.client.sharing import Sharing
from isthmus.client.streams import StreamResult
from isthmus.client.transport import Transport
from isthmus.client.values import SubjectLike
from isthmus.identity import Identity


def now() -> datetime:
    """The present time, UTC-aware: the clock of a client that is given none."""
    return datetime.now(UTC)


class Client:
    """One connection to one server; safe to use from many threads, to be closed when done.

        with Client("gateway.example:8443", cert="me.pem", key="me.key", ca="ca.pem") as client:
            client.query(contract=…, purpose=…, subject=(scheme, id), fields=[…])

    The parts are `exchange`, `catalog`, `contracts`, `consents`, `emergencies` and, towards an audit service, `audit` and
    `sharing`. Calls that have no second effect are tried again when the server is away; exchanges never are, since each
    is recorded.

    Args:
        address: `host:port`.
        cert: the caller's certificate, PEM; a chain may follow the leaf.
        key: its unencrypted private key, PEM.
        ca: the certificates of the trusted authorities, PEM.
        server: who must answer: `gateway/<name>`, `audit/<name>`, a SPIFFE URI or an Identity.
        deadline: seconds a call may take; 10 for a call and an hour for a stream unless given.
        clock: returns the present time, UTC-aware, for what the client signs.

    Raises:
        CredentialsError: a file is missing or holds something else.
        IdentityError: the certificate or `server` is no identity.
    """

    def __init__(
        self,
        address: str,
        *,
        cert: str | Path,
        key: str | Path,
        ca: str | Path,
        server: Identity | str = DEFAULT_SERVER,
        deadline: float | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        credentials = credentials_from_files(cert, key, ca)
        whole = target(address, credentials=credentials, server=server, deadline=deadline)
        channel = grpc.secure_channel(whole.address, whole.channel_credentials(), options=whole.options)
        self._assemble(channel, whole, clock)

    def _assemble(self, channel: grpc.Channel, whole: Target, clock: Callable[[], datetime]) -> None:
        transport = Transport(channel, whole)
        self._channel, self._target, self._clock = channel, whole, clock
        self.catalog = Catalog(transport)
        self.contracts = Contracts(transport, clock)
        self.consents = Consents(transport, clock)
        self.emergencies = Emergencies(transport)
        self.exchange = Exchange(transport)
        self.audit = Audit(transport)
        self.sharing = Sharing(transport)

    @property
    def identity(self) -> Identity:
        """Who the caller is."""
        return self._target.identity

    def with_deadline(self, seconds: float) -> Client:
        """Returns a client over the same connection whose calls may take `seconds`; close only the first."""
        other = object.__new__(type(self))
        other._assemble(self._channel, replace(self._target, deadline=seconds), self._clock)
        return other

    def query(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike,
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> QueryResult:
        """The same as `exchange.query`."""
        return self.exchange.query(
            contract=contract,
            purpose=purpose,
            subject=subject,
            fields=fields,
            case_reference=case_reference,
            emergency=emergency,
        )

    def verify_receipt(
        self,
        result: QueryResult | VerifyResult | StreamResult,
        *,
        provider: str = "",
        at: datetime | None = None,
    ) -> VerifiedReceipt:
        """Checks that the provider signed for exactly this answer. Raises ReceiptError when it did not.

        Args:
            result: an answer of this client.
            provider: `departments/{department}` that must have answered; any unless given.
            at: when the provider's certificate must have been valid; now unless given.
        """
        verifier = verifier_of(self._target, self._clock)
        return verify_receipt(result, verifier=verifier, provider=provider, at=at)

    def close(self) -> None:
        """Closes the connection; calls under way end with Cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
