"""The clerk's round over contracts: writes down what time has brought to those that nobody touched."""

from typing import Final

from gateway.clerk.job import NewCall
from gateway.contracts.advance import advance
from gateway.contracts.overdue import unwritten
from gateway.state.change import Change, Control
from gateway.state.contracts import ContractRow, get_version, page_of_open

_PAGE: Final = 200
_MOST: Final = 1000


class ContractClerk:
    """Writes the events ACTIVATED, EXPIRED, SUPERSEDED and those of missed deadlines, once each. A clerk's `Job`."""

    name = "contracts"

    def run(self, control: Control, new_call: NewCall) -> int:
        """Writes what is due; returns how many versions it wrote to."""
        written = sum(_write(control, new_call, row) for row in _due(control, new_call))
        return written


def _due(control: Control, new_call: NewCall) -> list[ContractRow]:
    found: list[ContractRow] = []
    after = ("", 0)
    with control.read(new_call()) as conn:
        now = control.clock()
        while len(found) < _MOST and (page := page_of_open(conn, after=after, limit=_PAGE)):
            found += [row for row in page if unwritten(conn, row, control.rulebook, now)]
            after = (page[-1].name, page[-1].version)
    return found[:_MOST]


def _write(control: Control, new_call: NewCall, seen: ContractRow) -> bool:
    def work(change: Change) -> bool:
        # Read again: another gateway's clerk, or somebody's call, may have been first.
        row = get_version(change.connection, seen.name, seen.version)
        due = [] if row is None else unwritten(change.connection, row, change.rulebook, change.now)
        if row is None or not due:
            return False
        told = {"event": " ".join(event.value for event, _ in due)}
        position = change.record(row.full_name, told, about=row)
        advance(change, row, (), position=position)
        return True

    return control.change(new_call(), work).value
