"""What an answer to a proposal leaves behind: when it came, and after how many working days."""

from datetime import datetime

from gateway.clocks.deadlines import working_days_between
from gateway.contracts.deadlines import DeadlineKind
from gateway.contracts.overdue import deadlines_of
from gateway.rulebook import Rulebook
from gateway.state.change import Change
from gateway.state.contracts import ContractRow, Facts
from isthmus.errors import StateConflict
from isthmus.terms import rfc3339


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


def answer_told(change: Change, row: ContractRow, facts: Facts) -> dict[str, str | int]:
    """What the record of an answer says of it, so that the log alone tells who answers in time; empty for no answer.

    Args:
        change: the control call.
        row: the proposal.
        facts: as `answer_facts` returns them.
    """
    if not facts:
        return {}
    deadlines = deadlines_of(change.connection, row, change.rulebook, change.now)
    late = any(each.kind is DeadlineKind.ANSWER and each.overdue for each in deadlines)
    told: dict[str, str | int] = {"answer": "LATE" if late else "IN_TIME"}
    days = facts.get("answer_workdays")
    return told | {"answer_workdays": days} if isinstance(days, int) else told


def require_unanswered(row: ContractRow) -> None:
    """Returns while the answer is owed: what has been answered is neither extended nor held up for a supplement.

    Raises:
        StateConflict: it was answered.
    """
    if row.answered_at is not None:
        raise StateConflict(row.full_name, f"it was answered on {rfc3339(row.answered_at)}")
