"""What an answer to a proposal leaves behind: when it came, and after how many working days."""

from datetime import datetime

from gateway.clocks.deadlines import working_days_between
from gateway.rulebook import Rulebook
from gateway.state.contracts import ContractRow, Facts


def answer_facts(row: ContractRow, rulebook: Rulebook, department: str, now: datetime) -> Facts:
    """The facts of an answer, if this is one: the first word of the department that did not propose.

    Args:
        row: the proposal.
        rulebook: knows the calendar that its rule pack counts on.
        department: who speaks.
        now: when.
    """
    if department == row.proposer or row.answered_at is not None:
        return {}
    pack = rulebook.of(row.rule_pack)
    if pack is None:
        return {"answered_at": now}
    taken = working_days_between(row.created_at, now, rulebook.calendar(pack), zone=pack.tzinfo)
    return {"answered_at": now, "answer_workdays": taken.days}
