"""Admitting a batch, some of its subjects after the others: the department works on the first while the next are admitted.

Nothing is released by what is read here: all of it is decided again where it is recorded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from audit.ledger import Ledger
from gateway.batch.part import part_size
from gateway.batch.state import Heard, State, read_given
from gateway.batch.verdict import Verdict, admitted
from gateway.exchange.state import Rules


class Admission:
    """One batch that is admitted as a whole.

    Args:
        ledger: what each of its subjects said is read from it.
        state: what all of them have in common.
        rules: what turns state into decisions.
        size: how many records the log had before `state` was read.
    """

    def __init__(self, ledger: Ledger, state: State, rules: Rules, *, size: int) -> None:
        self._ledger = ledger
        self._rules = rules
        self.state: Final = state
        self.heard: Final = Heard(state, size)
        self.verdicts: Final[list[Verdict]] = []

    def parts(self) -> Iterator[Sequence[int]]:
        """Yields the numbers of those whom the department is asked about, part by part; all are decided about when it ends.

        Raises:
            Unavailable: the ledger cannot be read.
        """
        every = len(self.state.people.persons)
        size = part_size(every)
        for start in range(0, every, size):
            yield self._admit(start, size)

    def _admit(self, start: int, size: int) -> Sequence[int]:
        people = self.state.people
        some = replace(people, persons=people.persons[start : start + size])
        with self._ledger.read() as connection:
            state, until = read_given(connection, replace(self.state, people=some))
        verdicts, asked = admitted(state, self._rules)
        self.heard.add(state.given, until)
        self.verdicts.extend(verdicts)
        return [start + number for number in asked]
