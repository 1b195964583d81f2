"""Rate limits: a flood is turned away in the process, before it costs the ledger or a department anything.

They are no quota: each gateway counts for itself, in memory, and what it turns away leaves no record. Quotas are in
`gateway.quotas`.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from isthmus.errors import ResourceExhausted
from isthmus.identity import Identity
from isthmus.reasons import Reason

_SHORTEST: Final = timedelta(milliseconds=10)


class RateLimit:
    """So many exchanges in any one second, for each caller; safe to use from many threads.

    Args:
        per_second: how many; 0 for no limit.
        turned_away: is told the department, `departments/{department}`, of every call that was turned away.
    """

    def __init__(self, per_second: int, turned_away: Callable[[str], None]) -> None:
        self._turned_away = turned_away
        self._item = RateLimitItemPerSecond(per_second) if per_second else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage()) if per_second else None

    def admit(self, identity: Identity) -> None:
        """Returns when the caller may go on, and counts the call.

        Raises:
            ResourceExhausted: RATE_LIMITED, with the time after which a call is taken again.
        """
        if self._limiter is None or self._item is None or self._limiter.hit(self._item, identity.uri):
            return
        self._turned_away(f"departments/{identity.department}" if identity.department else "")
        reset = self._limiter.get_window_stats(self._item, identity.uri).reset_time
        raise ResourceExhausted(
            Reason.RATE_LIMITED,
            f"this gateway takes {self._item.amount} exchanges a second from one system; send more slowly",
            retry_after=max(_SHORTEST, timedelta(seconds=reset - time.time())),
        )
