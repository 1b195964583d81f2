"""A train's journey: admit, fetch, release. Every exchange aboard ends, with exactly one record, whatever happens."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from audit.ledger import Ledger
from gateway.exchange.fetch import Fetch
from gateway.exchange.grant import Passenger
from gateway.exchange.item import Exchange
from gateway.exchange.release import UNFORESEEN, Case, Release, Watcher
from gateway.exchange.state import Rules, View, read_world
from gateway.state.providers import providers
from isthmus.errors import Unavailable
from isthmus.reasons import Reason

_MAX_TRANSFERS: Final = 2


class Observer(Watcher, Protocol):
    """Measures the stages too."""

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None: ...


Transfer = Callable[[Exchange, str, str], bool]
"""Offers an exchange, found to be for a department, to that department's train; False when it stays aboard."""


class Pipeline:
    """The three stages.

    Args:
        ledger: the ledger.
        rules: what turns state into decisions.
        fetch: asks departments.
        release: decides, records and answers.
        transfer: hands exchanges over to the train of their department.
        observer: measures.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        *,
        fetch: Fetch,
        release: Release,
        transfer: Transfer,
        observer: Observer,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._fetch = fetch
        self._release = release
        self._transfer = transfer
        self._watcher = observer
        self._clock = clock

    def run(self, station: str, exchanges: Sequence[Exchange]) -> None:
        """Takes exchanges through every stage. Ends each of them, and raises nothing.

        Args:
            station: the department whose train this is, `departments/{department}`; empty for the train of
                exchanges whose department is not known yet.
            exchanges: who is aboard.
        """
        aboard = list(exchanges)
        try:
            self._travel(station, aboard)
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, every caller gets an end
            self._strand(aboard, fault)

    def _travel(self, station: str, aboard: list[Exchange]) -> None:
        if not station:
            self._send_on(aboard)
        if not aboard:
            return
        started = time.perf_counter()
        passengers = self._change_trains(station, self._admit(aboard), aboard)
        admitted = time.perf_counter()
        self._watcher.stage("admit", aboard, admitted - started)
        if not passengers:
            return
        fetched = self._fetch.fetch(passengers)
        self._stamp("fetched", passengers)
        arrived = time.perf_counter()
        travellers = [each.exchange for each in passengers]
        self._watcher.stage("fetch", travellers, arrived - admitted)
        cases = [Case(passenger.exchange, passenger, outcome) for passenger, outcome in fetched]
        self._release.settle(cases, self._release.judge_release)
        self._watcher.stage("release", travellers, time.perf_counter() - arrived)

    def _send_on(self, aboard: list[Exchange]) -> None:
        """Hands over, undecided, those whose department the ledger names; the others stay."""
        pairs = {(each.asked.contract, each.asked.consumer) for each in aboard}
        with self._ledger.read() as connection:
            found = providers(connection, pairs)
        for each in list(aboard):
            department = found.get((each.asked.contract, each.asked.consumer))
            if department is not None:
                self._hand_over(each, "", department, aboard)

    def _hand_over(self, exchange: Exchange, station: str, department: str, aboard: list[Exchange]) -> bool:
        """Offers an exchange to another train, which from then on answers for it; else it stays aboard."""
        exchange.transfers += 1
        aboard.remove(exchange)
        if self._transfer(exchange, station, department):
            return True
        aboard.append(exchange)
        return False

    def _admit(self, aboard: Sequence[Exchange]) -> list[Passenger]:
        """Returns those who may be asked for; the denials of the others are recorded and answered at once."""
        with self._ledger.read() as connection:
            world = read_world(connection, [each.asked for each in aboard], self._rules, now=self._clock())
        admitted: list[tuple[Case, View]] = []
        doubtful: list[Case] = []
        for exchange, view in zip(aboard, world.views, strict=True):
            case = Case(exchange)
            if self._release.judge_admission(case, view, world) is None:
                admitted.append((case, view))
            else:
                doubtful.append(case)
        # Decided again where it is recorded: a denial too must be true at the position of its record.
        admitted += self._release.settle(doubtful, self._release.judge_admission)
        passengers = [
            Passenger(case.exchange, view, view.contract) for case, view in admitted if view.contract
        ]
        self._stamp("admitted", passengers)
        return passengers

    def _change_trains(
        self, station: str, passengers: Sequence[Passenger], aboard: list[Exchange]
    ) -> list[Passenger]:
        """Hands over those who are on another department's train; returns those who stay."""
        staying = []
        for each in passengers:
            exchange, department = each.exchange, each.contract.provider
            # Bounded, so that nobody rides in circles; whoever stays is asked for from here.
            strange = department != station and exchange.transfers < _MAX_TRANSFERS
            if strange and self._hand_over(exchange, station, department, aboard):
                continue
            staying.append(each)
        return staying

    def _stamp(self, stage: str, passengers: Sequence[Passenger]) -> None:
        now = self._clock()
        for each in passengers:
            each.exchange.stages[stage] = now

    def _strand(self, aboard: Sequence[Exchange], fault: Exception) -> None:
        """Ends what a fault left open: with a record if one can still be written, and in any case with an error."""
        reason, words = Reason.INTERNAL, UNFORESEEN
        if isinstance(fault, Unavailable):
            reason, words = fault.reason, fault.message
        else:
            self._watcher.fault(fault)
        self._release.record_failures([each for each in aboard if not each.ended], reason, words)
