"""Which processors a gateway process keeps to.

Of its threads one at a time holds the interpreter's lock. Where they run on several processors each hand-over of it
wakes another one, which costs a gateway under load a quarter of its processor time (docs/PERFORMANCE.md).
"""

import os
from collections.abc import Sequence

from gateway.load import GatewayError


def keep_to(processors: Sequence[int], worker: int = 0) -> None:
    """Keeps this process, and the threads it will start, to one processor.

    Args:
        processors: as the system numbers them, `[server] processors`; the workers take them in turn. Empty leaves the
            choice to the system.
        worker: the number of this process among the gateway's, from 0.

    Raises:
        GatewayError: this process may not run there, or the system offers no choice.
    """
    if not processors:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise GatewayError("[server] processors: this system does not let a process choose; remove the key")
    chosen = processors[worker % len(processors)]
    allowed = os.sched_getaffinity(0)
    if chosen not in allowed:
        there_are = ", ".join(map(str, sorted(allowed)))
        raise GatewayError(
            f"[server] processors: this process may not run on {chosen}; there are {there_are}"
        )
    os.sched_setaffinity(0, {chosen})
