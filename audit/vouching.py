"""What the audit service does so that others vouch for the log: rounds of cosignatures, and rounds of timestamps."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry

from audit.background import Background
from audit.config import AuditConfig
from audit.http import HttpPost
from audit.kept import require_independent
from audit.ledger import Ledger
from audit.timestamps.rounds import TimestampRound
from audit.timestamps.token import load_roots
from audit.tlog.cosignature import CosignerKey
from audit.vouching_metrics import VouchingMetrics
from audit.witness.client import TRIES, WitnessClient
from audit.witness.rounds import CosigningRound

Clock = Callable[[], datetime]
_LAST_S: Final = 5.0
"""For keeping what came last."""


class Vouching:
    """The rounds, as far as the configuration asks for any. `start` them; `stop` them in any case.

    Args:
        config: names the witnesses and the authority.
        ledger: what they vouch for.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.

    Raises:
        TimestampError: the certificates that vouch for the authority cannot be read.
        ValueError: a witness has the log's own key.
    """

    def __init__(
        self, config: AuditConfig, ledger: Ledger, *, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._rounds: list[Background] = []
        self._posts: list[HttpPost] = []
        witnesses, stamps = config.witnesses, config.timestamps
        if not witnesses and stamps is None:
            return
        metrics = VouchingMetrics(
            ledger,
            clock,
            witnesses={each.name: CosignerKey.parse(each.vkey) for each in witnesses},
            required=config.witnessing.required,
            timestamps=stamps is not None,
        )
        if witnesses:
            self._add_witnesses(config, ledger, metrics, clock)
        if stamps is not None:
            post = self._post(HttpPost(stamps.timeout_s, stamps.ca))
            stamping = TimestampRound(
                ledger,
                stamps.authority,
                url=stamps.url,
                roots=load_roots(stamps.roots),
                post=post,
                watcher=metrics,
                clock=clock,
            )
            self._rounds.append(Background("audit.timestamps", stamping.run, stamps.interval_s))
        metrics.register(registry)

    def start(self) -> None:
        """Begin, with a first round of each at once."""
        for each in self._rounds:
            each.start()

    def stop(self) -> None:
        """Begin no further round, and cut off those under way. Takes seconds at most, whatever others do."""
        for each in self._rounds:
            each.stop(0)
        for post in self._posts:
            post.close()
        for each in self._rounds:
            each.stop(_LAST_S)

    def _add_witnesses(
        self, config: AuditConfig, ledger: Ledger, metrics: VouchingMetrics, clock: Clock
    ) -> None:
        settings = config.witnessing
        require_independent([CosignerKey.parse(each.vkey) for each in config.witnesses], ledger.verifier_key)
        post = self._post(HttpPost(settings.timeout_s, settings.ca))
        clients = [
            WitnessClient(each.name, CosignerKey.parse(each.vkey), each.url, post, clock)
            for each in config.witnesses
        ]
        limit_s = TRIES * settings.timeout_s + 1
        cosigning = CosigningRound(ledger, clients, watcher=metrics, clock=clock, timeout_s=limit_s)
        self._rounds.append(Background("audit.witness", cosigning.run, settings.interval_s))

    def _post(self, post: HttpPost) -> HttpPost:
        self._posts.append(post)
        return post
