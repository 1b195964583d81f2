"""Emergency uses: what was released without the consent it otherwise needs, and its review."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from isthmus.client.calls import Call, Listing, path
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.v1.contract_service_pb2 import (
    EmergencyUse,
    ListEmergencyUsesRequest,
    ReviewEmergencyUseRequest,
)

_SERVICE = "ContractService"


def _use_of(response: Any) -> EmergencyUse:
    use: EmergencyUse = response.use
    return use


def _list(contract: str, unreviewed: bool, page_size: int) -> Listing[EmergencyUse]:
    request = ListEmergencyUsesRequest(contract=contract, unreviewed=unreviewed, page_size=page_size)
    return Listing(path(_SERVICE, "ListEmergencyUses"), request, lambda response: response.uses)


def _review(exchange: str, justified: bool, finding: str) -> Call[EmergencyUse]:
    request = ReviewEmergencyUseRequest(exchange=exchange, justified=justified, finding=finding)
    return Call(path(_SERVICE, "ReviewEmergencyUse"), request, _use_of)


class Emergencies:
    """Emergency uses. Every method raises `IsthmusError`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, contract: str = "", unreviewed: bool = False, page_size: int = 0
    ) -> Iterator[EmergencyUse]:
        """Yields the uses that the caller may see, newest first.

        Args:
            contract: only those of `contracts/{contract}`.
            unreviewed: only those that await a review.
            page_size: how many the server sends at a time; its own choice unless given.
        """
        return self._transport.pages(_list(contract, unreviewed, page_size))

    def review(self, exchange: str, *, justified: bool, finding: str) -> EmergencyUse:
        """Records, once, whether the use was justified; only an officer of the provider may."""
        return self._transport.run(_review(exchange, justified, finding))


class AsyncEmergencies:
    """`Emergencies` with await."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(
        self, *, contract: str = "", unreviewed: bool = False, page_size: int = 0
    ) -> AsyncIterator[EmergencyUse]:
        """As `Emergencies.list`."""
        return self._transport.pages(_list(contract, unreviewed, page_size))

    async def review(self, exchange: str, *, justified: bool, finding: str) -> EmergencyUse:
        """As `Emergencies.review`."""
        return await self._transport.run(_review(exchange, justified, finding))
