"""What one answer may hold."""

from isthmus.reasons import Reason
from isthmus.v1.department_service_pb2 import FetchOutcome
from services.answers import refusal
from services.manifest import SourceSettings


class Budget:
    """What one answer may still hold. An outcome that no longer fits is refused, and the others stay."""

    def __init__(self, limits: SourceSettings) -> None:
        self.limits = limits
        self._rows = limits.max_rows_per_answer
        self._bytes = limits.max_answer_bytes

    def refuses(self, rows: int, size: int) -> FetchOutcome | None:
        """The refusal of an outcome of that many rows and bytes, or None while it fits."""
        if size > self.limits.max_answer_bytes:
            most = self.limits.max_answer_bytes
            return refusal(f"the rows take {size} bytes; max_answer_bytes = {most} of the node allows fewer")
        if rows > self._rows or size > self._bytes:
            name = "max_rows_per_answer" if rows > self._rows else "max_answer_bytes"
            most = getattr(self.limits, name)
            # Another train, or fewer subjects at once, may have room: so this one is worth another try.
            return refusal(
                f"one answer may hold no more than {name} = {most}; ask again, or for fewer subjects at once",
                Reason.OVERLOADED,
            )
        return None

    def spend(self, outcome: FetchOutcome) -> FetchOutcome:
        """The outcome itself, or its refusal when it does not fit."""
        size = outcome.ByteSize()
        refused = self.refuses(outcome.row_count, size)
        if refused is not None:
            return refused
        self._rows -= outcome.row_count
        self._bytes -= size
        return outcome
