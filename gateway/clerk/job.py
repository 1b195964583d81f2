"""What the clerk can be given to do."""

from collections.abc import Callable
from typing import Protocol

from gateway.state.change import Call, Control

NewCall = Callable[[], Call]
"""Makes the call of one more change by the clerk, each with an id of its own."""


class Job(Protocol):
    """One kind of thing that time brings about.

    `run` looks for what is due in a read snapshot, and makes each change in a transaction of its own, where it looks
    again: several gateways run the same job, and only the first of them finds something to write.
    """

    @property
    def name(self) -> str:
        """What the log and the metrics call it, such as `contracts`."""
        ...

    def run(self, control: Control, new_call: NewCall) -> int:
        """Writes what is due, a bounded number of changes at a time; returns how many it wrote.

        Args:
            control: runs the changes; its clock is the time.
            new_call: the caller of each change: this gateway.
        """
        ...
