"""Puts the batches of a gateway together."""

from collections.abc import Callable
from datetime import datetime

from audit.ledger import Ledger
from gateway.batch.batches import Batches, Observer
from gateway.batch.fetch import BatchFetch
from gateway.batch.places import Places
from gateway.batch.release import BatchRelease
from gateway.config import ExchangeSection
from gateway.departments import Departments
from gateway.exchange.calls import Calls
from gateway.exchange.release import Commits
from gateway.exchange.state import Rules
from isthmus.pki import Credentials
from isthmus.statement import StatementVerifier


def make_batches(
    section: ExchangeSection,
    ledger: Ledger,
    rules: Rules,
    *,
    departments: Departments,
    credentials: Credentials,
    verifier: StatementVerifier,
    observer: Observer,
    clock: Callable[[], datetime],
    calls: Calls,
    commits: Commits | None,
) -> Batches:
    """Returns what serves BatchQuery.

    Args:
        section: its bounds.
        ledger: where its records go.
        rules: what turns state into decisions.
        departments: the nodes that may be asked.
        credentials: the gateway's own.
        verifier: checks the receipts of the nodes.
        observer: counts and measures.
        clock: returns the present time, UTC-aware.
        calls: the traces of calls.
        commits: is told of commits; None where nobody wants to know.
    """
    fetch = BatchFetch(
        departments,
        credentials,
        verifier,
        clock=clock,
        timeout=section.fetch_timeout_seconds,
        calls=calls,
    )
    release = BatchRelease(ledger, rules, observer, commits=commits)
    return Batches(release, fetch, places=Places(section.batches), observer=observer, clock=clock)
