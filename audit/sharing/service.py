"""SharingService: whether departments share, for departments, auditors and operators."""

import grpc

from audit.sharing.live import LiveSharing
from isthmus.v1.sharing_service_pb2 import ReportSharingRequest, ReportSharingResponse
from isthmus.v1.sharing_service_pb2_grpc import SharingServiceServicer


class SharingService(SharingServiceServicer):
    """Serves the figures of a log. They count departments and exchanges and show no record, so asking leaves none.

    Args:
        live: the figures.
    """

    def __init__(self, live: LiveSharing) -> None:
        self._live = live

    def ReportSharing(
        self, request: ReportSharingRequest, _context: grpc.ServicerContext
    ) -> ReportSharingResponse:
        """Reports who shares with whom, and how well."""
        return self._live.report(request.first_day, request.last_day)
