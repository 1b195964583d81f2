"""The client for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc.aio

from isthmus.client.audit import AsyncAudit
from isthmus.client.catalog import AsyncCatalog
from isthmus.client.connection import DEFAULT_SERVER, Target, credentials_from_files, target
from isthmus.client.consents import AsyncConsents
from isthmus.client.contracts import AsyncContracts
from isthmus.client.emergencies import AsyncEmergencies
from isthmus.client.exchange import AsyncExchange
from isthmus.client.receipts import VerifiedReceipt, verifier_of, verify_receipt
from isthmus.client.results import QueryResult, VerifyResult
from isthmus.client.sharing import AsyncSharing
from isthmus.client.streams import StreamResult
from isthmus.client.sync import now
from isthmus.client.transport import AsyncTransport
from isthmus.client.values import SubjectLike
from isthmus.identity import Identity


class AsyncClient:
    """`Client` with await; make it inside the event loop that uses it. Arguments and errors are `Client`'s."""

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
        channel = grpc.aio.secure_channel(whole.address, whole.channel_credentials(), options=whole.options)
        self._assemble(channel, whole, clock)

    def _assemble(self, channel: grpc.aio.Channel, whole: Target, clock: Callable[[], datetime]) -> None:
        transport = AsyncTransport(channel, whole)
        self._channel, self._target, self._clock = channel, whole, clock
        self.catalog = AsyncCatalog(transport)
        self.contracts = AsyncContracts(transport, clock)
        self.consents = AsyncConsents(transport, clock)
        self.emergencies = AsyncEmergencies(transport)
        self.exchange = AsyncExchange(transport)
        self.audit = AsyncAudit(transport)
        self.sharing = AsyncSharing(transport)

    @property
    def identity(self) -> Identity:
        """Who the caller is."""
        return self._target.identity

    def with_deadline(self, seconds: float) -> AsyncClient:
        """As `Client.with_deadline`."""
        other = object.__new__(type(self))
        other._assemble(self._channel, replace(self._target, deadline=seconds), self._clock)
        return other

    async def query(
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
        return await self.exchange.query(
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
        """As `Client.verify_receipt`; it needs no network, so no await."""
        verifier = verifier_of(self._target, self._clock)
        return verify_receipt(result, verifier=verifier, provider=provider, at=at)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
