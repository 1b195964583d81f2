"""Whether departments share: the figures of the log. Served by the audit service."""

from isthmus.client.calls import Call, path
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.v1.sharing_service_pb2 import ReportSharingRequest, ReportSharingResponse


def _report(first_day: str, last_day: str) -> Call[ReportSharingResponse]:
    request = ReportSharingRequest(first_day=first_day, last_day=last_day)
    return Call(path("SharingService", "ReportSharing"), request, lambda response: response)


class Sharing:
    """The figures of sharing. Every method raises `IsthmusError` when it is refused."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def report(self, *, first_day: str = "", last_day: str = "") -> ReportSharingResponse:
        """Returns who shares with whom, and how well.

        Args:
            first_day: of UTC, such as `2026-11-24`; 29 days before the last one unless given.
            last_day: included; today unless given.
        """
        return self._transport.run(_report(first_day, last_day))


class AsyncSharing:
    """As `Sharing`, with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def report(self, *, first_day: str = "", last_day: str = "") -> ReportSharingResponse:
        """As `Sharing.report`."""
        return await self._transport.run(_report(first_day, last_day))
