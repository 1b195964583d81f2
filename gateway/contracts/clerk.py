"""The clerk's round over contracts: writes down what time has brought to those that nobody touched."""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from gateway.clerk.job import NewCall
from gateway.contracts.advance import advance
from gateway.contracts.overdue import deadlines_of, unwritten
from gateway.rulebook import Rulebook
from gateway.state.change import Change, Control
from gateway.state.contracts import ContractRow, OpenVersion, get_version, open_versions

LOOKS: Final = 500
"""How many versions one round looks at; the next round goes on, so that no round takes the gateway's time."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class ContractClerk:
    """Writes the events ACTIVATED, EXPIRED, SUPERSEDED and those of missed deadlines, once each. A clerk's `Job`.

    A version is looked at again when it was written to, or when the next of its times has come.
    """

    name = "contracts"

    def __init__(self) -> None:
        self._seen: dict[OpenVersion, datetime] = {}

    def run(self, control: Control, new_call: NewCall) -> int:
        """Writes what is due; returns how many versions it wrote to."""
        return sum(_write(control, new_call, row) for row in self._due(control, new_call))

    def _due(self, control: Control, new_call: NewCall) -> list[ContractRow]:
        found: list[ContractRow] = []
        with control.read(new_call()) as conn:
            now, known = control.clock(), open_versions(conn)
            self._seen = {each: self._seen[each] for each in known if each in self._seen}
            for each in [each for each in known if self._seen.get(each, now) <= now][:LOOKS]:
                row = get_version(conn, each.name, each.version)
                if row is None:
                    continue
                if unwritten(conn, row, control.rulebook, now):
                    found.append(row)
                else:
                    self._seen[each] = _next_time(conn, row, control.rulebook, now)
        return found


def _next_time(conn: sa.Connection, row: ContractRow, rulebook: Rulebook, now: datetime) -> datetime:
    """When something may next become of a version by time alone."""
    times = [row.not_before, row.not_after, row.superseded_at]
    times += [each.due for each in deadlines_of(conn, row, rulebook, now)]
    return min((each for each in times if each is not None and each > now), default=_NEVER)


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
