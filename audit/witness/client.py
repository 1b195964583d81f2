"""Asking one witness for a cosignature: from where it stands, and nothing it says is believed unverified."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from http import HTTPStatus
from typing import Final

from audit.http import Answer, Post, Unreachable
from audit.tlog.cosignature import CosignerKey
from audit.tlog.errors import NoteError
from audit.tlog.note import Signature, open_note, split_note
from audit.witness.protocol import (
    MAX_RESPONSE_BYTES,
    PATH,
    SIZE_TYPE,
    AddCheckpoint,
    ProtocolError,
    parse_size,
)

MAX_SKEW: Final = timedelta(minutes=5)
"""How far a witness's clock may differ from ours: what it says about the time must be worth something."""
TRIES: Final = 3
"""How often a witness may name another size before it is given up."""
_UNPROVEN: Final = ". A refusal is not signed: over http:// anybody on the way could have made it up"
_REQUEST: Final = "text/plain; charset=utf-8"


class Trouble(Enum):
    """Why there is no cosignature."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    INVALID = "invalid"
    ROLLED_BACK = "rolled_back"
    FORKED = "forked"


class NotCosigned(Exception):
    """A witness did not cosign. ROLLED_BACK and FORKED are alarms: it has seen another log than ours."""

    def __init__(self, trouble: Trouble, problem: str) -> None:
        super().__init__(problem)
        self.trouble = trouble


class Ahead(NotCosigned):
    """ROLLED_BACK, unless the log has `size` records by now: somebody else may have shown the witness a newer checkpoint."""

    def __init__(self, size: int, shown: int) -> None:
        super().__init__(
            Trouble.ROLLED_BACK,
            f"it says that it cosigned {size} records of this log, and here are {shown}: the ledger was rolled back, or "
            f"its newest part is withheld{_UNPROVEN}",
        )
        self.size = size


@dataclass(frozen=True, slots=True)
class WitnessClient:
    """One witness.

    Attributes:
        name: what this deployment calls it.
        key: its public key.
        url: its submission prefix.
        post: sends.
        clock: returns the present time, UTC-aware.
    """

    name: str
    key: CosignerKey
    url: str
    post: Post
    clock: Callable[[], datetime]

    def cosign(
        self, note: bytes, size: int, *, last: int, proof: Callable[[int, int], Sequence[bytes]]
    ) -> Signature:
        """Return the witness's cosignature of a checkpoint.

        Args:
            note: the checkpoint, signed by its log.
            size: its size, more than 0.
            last: the size that the witness cosigned last, as far as is known; 0 if never.
            proof: the consistency proof from an older size to another.

        Raises:
            Ahead: it cosigned more than this checkpoint covers.
            NotCosigned: it did not, and why.
        """
        old = last
        for _ in range(TRIES):
            hashes = tuple(proof(old, size)) if old else ()
            answer = self._send(AddCheckpoint(old, hashes, note))
            if answer.status == HTTPStatus.OK:
                return self._accept(answer.body, note)
            known = self._known_size(answer, old)
            if known > size:
                raise Ahead(known, size)
            old = known
        raise NotCosigned(Trouble.REFUSED, "it names another size each time")

    def _send(self, request: AddCheckpoint) -> Answer:
        try:
            url = f"{self.url.rstrip('/')}{PATH}"
            return self.post(url, request.encode(), kind=_REQUEST, most=MAX_RESPONSE_BYTES)
        except Unreachable as error:
            raise NotCosigned(Trouble.UNREACHABLE, str(error)) from error

    def _known_size(self, answer: Answer, old: int) -> int:
        """The size that a refusal says to go on from."""
        if answer.status == HTTPStatus.CONFLICT and answer.kind == SIZE_TYPE:
            try:
                size = parse_size(answer.body)
            except ProtocolError as error:
                raise NotCosigned(Trouble.INVALID, str(error)) from error
            if size != old:
                return size
        if answer.status in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise NotCosigned(
                Trouble.FORKED,
                f"it says that it cosigned another history of this log than the one here, of {old} records at least: one "
                f"of them was rewritten. Compare the checkpoint it keeps with the ledger{_UNPROVEN}",
            )
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotCosigned(Trouble.UNREACHABLE, f"it answered {answer.status}")
        raise NotCosigned(Trouble.REFUSED, f"it answered {answer.status}")

    def _accept(self, lines: bytes, note: bytes) -> Signature:
        asked = self.clock()
        try:
            opened = open_note(note + lines, [self.key])
        except NoteError as error:
            raise NotCosigned(
                Trouble.INVALID, f"what it answered is no cosignature of its key: {error}"
            ) from error
        # A blank line in its answer would move the end of the text, and make it a signature of another one.
        if opened.text != split_note(note)[0]:
            raise NotCosigned(Trouble.INVALID, "what it answered is no cosignature of this checkpoint")
        at = self.key.time_in(opened)
        if at is None or abs(at - asked) > MAX_SKEW + timedelta(seconds=1):
            raise NotCosigned(
                Trouble.INVALID,
                "the time in its cosignature is not the present one; set the clocks right, or an old answer was replayed",
            )
        return opened.signatures[0]
