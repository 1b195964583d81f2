"""The server kit: one way to serve gRPC, used by the gateway, the audit service and the department node.

What every server does with every call, in this order, is written in `isthmus.rpc.guard`. A servicer method
keeps its plain signature; `caller(context)` says who calls.
"""

from isthmus.rpc.caller import Caller, caller
from isthmus.rpc.guard import Authoriser
from isthmus.rpc.labels import OTHER, LabelGuard
from isthmus.rpc.monitoring import MetricsServer, metrics_server
from isthmus.rpc.process_metrics import ProcessFacts
from isthmus.rpc.server import RunningServer, Service, build_server

__all__ = [
    "OTHER",
    "Authoriser",
    "Caller",
    "LabelGuard",
    "MetricsServer",
    "ProcessFacts",
    "RunningServer",
    "Service",
    "build_server",
    "caller",
    "metrics_server",
]
