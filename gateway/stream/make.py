"""The parts of Stream, put together."""

from collections.abc import Callable
from datetime import datetime

from audit.ledger import Ledger
from gateway.config import Config
from gateway.departments import Departments
from gateway.exchange.calls import Calls
from gateway.exchange.release import Commits, Release
from gateway.exchange.state import Rules
from gateway.stream.closing import Closing
from gateway.stream.handing import Handing
from gateway.stream.judge import StreamJudge
from gateway.stream.observer import StreamObserver
from gateway.stream.opening import Opening
from gateway.stream.peer import peer_reader
from gateway.stream.slots import Slots
from gateway.stream.source import Source
from gateway.stream.streams import Streams
from isthmus.pki import Credentials
from isthmus.statement import StatementVerifier


def make_streams(
    config: Config,
    ledger: Ledger,
    rules: Rules,
    *,
    departments: Departments,
    credentials: Credentials,
    verifier: StatementVerifier,
    observer: StreamObserver,
    clock: Callable[[], datetime],
    calls: Calls,
    commits: Commits | None,
) -> Streams:
    """Returns what serves Stream.

    Args:
        config: the gateway's.
        ledger: the ledger.
        rules: what turns state into decisions.
        departments: their channels.
        credentials: the gateway's own.
        verifier: checks receipts.
        observer: measures.
        clock: returns the present time, UTC-aware.
        calls: the traces of calls.
        commits: is told of commits; None where nobody wants to know.

    Raises:
        OSError: a file of the gateway's credentials cannot be read.
    """
    server, section = config.server, config.exchange
    patience = section.fetch_timeout_seconds
    source = Source(
        departments,
        credentials,
        verifier,
        peer=peer_reader(server.certificate, server.key, server.ca, timeout=patience),
        clock=clock,
        patience=patience,
        calls=calls,
    )
    release = Release(ledger, rules, observer, commits=commits)
    judge = StreamJudge(release, rules)
    # Never more than a quarter of the threads, so that withdrawals and queries always find one.
    total = min(section.streams, max(1, server.threads // 4))
    return Streams(
        source,
        Opening(ledger, rules, judge, release, source=source, observer=observer, clock=clock),
        Handing(ledger, rules, judge, source=source, observer=observer, clock=clock),
        Closing(ledger, rules, source=source, observer=observer),
        slots=Slots(total, section.streams_per_department),
        observer=observer,
        clock=clock,
    )
