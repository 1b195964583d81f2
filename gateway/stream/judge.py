"""Whether a stream may begin, and whether it may go on: the same rules as for any exchange, asked before every chunk."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.exchange.ending import Ending, abandoned, allowed, failed, refused
from gateway.exchange.grant import Passenger
from gateway.exchange.outcome import Served
from gateway.exchange.release import Case, Release, changed
from gateway.exchange.state import Rules, View, World
from gateway.policy.rules import FailedRule
from gateway.quotas import used_up
from isthmus.reasons import Reason

_NODE_DENIED = "the certificate of the department's node has been denied"
_PLAIN = "plain"


class StreamJudge:
    """Judges streams.

    Args:
        release: judges what streams have in common with other exchanges.
        rules: what turns state into decisions.
    """

    def __init__(self, release: Release, rules: Rules) -> None:
        self._release = release
        self._rules = rules

    def admission(self, case: Case, view: View, world: World) -> Ending | None:
        """Decides before the provider is asked; None when it may be asked."""
        ending = self._release.judge_admission(case, view, world)
        if ending is None and (hidden := _hidden(view)):
            return refused(hidden, exchange=case.exchange.name, quota=None, now=world.now)
        return ending

    def opening(self, case: Case, view: View, world: World) -> Ending:
        """Decides whether the first byte may go out, once the provider has sent it."""
        if not isinstance(case.outcome, Served) or case.passenger is None:
            return self._release.judge_release(case, view, world)
        if ending := self.admission(case, view, world):
            return ending
        if case.outcome.node in world.denied:
            return failed(Reason.DEPARTMENT_MISBEHAVED, _NODE_DENIED, exchange=case.exchange.name)
        if broken := changed(case.passenger, view):
            return refused(broken, exchange=case.exchange.name, quota=None, now=world.now)
        return allowed(case.outcome)

    def part(self, passenger: Passenger, view: View, world: World, *, node: str, rows: int) -> Ending | None:
        """Decides whether a chunk of an open stream may go out; None when it may.

        Args:
            passenger: the exchange, and what it was granted under.
            view: what was read about it just now.
            world: the state just now.
            node: the thumbprint of the node's certificate.
            rows: how many rows the chunk holds.
        """
        exchange = passenger.exchange
        if gone := exchange.gone(world.now):
            return abandoned(gone, exchange=exchange.name)
        if node in world.denied:
            return failed(Reason.DEPARTMENT_MISBEHAVED, _NODE_DENIED, exchange=exchange.name)
        if view.damage is not None:
            return failed(view.damage.reason, view.damage.message, exchange=exchange.name)
        # Its one call was counted when it began.
        limits = tuple(replace(limit, calls=0) for limit in view.limits)
        ruling = world.decide(replace(view, limits=limits), self._rules, rows=rows)
        if not (broken := ruling.failed_rules() or changed(passenger, view)):
            return None
        quota = used_up(limits, world.usage, rows=rows)
        return refused(broken, exchange=exchange.name, quota=quota, now=world.now)


def _hidden(view: View) -> Sequence[FailedRule]:
    """The filters that would tell what a transform hides: who filters by a value knows it of every row that comes."""
    terms = view.contract.terms["fields"] if view.contract else ()
    veiled = {each["name"] for each in terms if each["transform"] != _PLAIN}
    count = len(veiled.intersection(view.asked.compared))
    if not count:
        return ()
    explanation = f"{count} of the filters look at a field that the contract releases only transformed"
    remedy = "filter by plain fields, or agree on a row filter in the contract"
    return (FailedRule("filter-on-transformed", Reason.FIELDS_OUTSIDE_CONTRACT, explanation, remedy),)
