"""A witness: cosigns a checkpoint only when it extends what it cosigned before (C2SP tlog-witness, add-checkpoint)."""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import IntEnum

from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.errors import CheckpointError, NoteError, ProofError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import verify_consistency
from audit.tlog.note import split_note
from audit.witness.protocol import AddCheckpoint, ProtocolError
from audit.witness.store import Latest, Split, Store


class Status(IntEnum):
    """The HTTP status of a refusal."""

    MALFORMED = 400
    NOT_SIGNED = 403
    UNKNOWN_LOG = 404
    CONFLICT = 409
    INCONSISTENT = 422


class Refused(Exception):
    """A checkpoint was not cosigned.

    Attributes:
        status: what is answered.
        size: the size that was cosigned last, if the client is to go on from there.
        split: the proof that the log split, if this is one.
    """

    def __init__(
        self, status: Status, problem: str, *, size: int | None = None, split: Split | None = None
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.size = size
        self.split = split


class Witness:
    """Vouches for logs. Safe to use from many threads; processes may share a store.

    Args:
        logs: the keys of the logs it vouches for, one a name.
        signer: its own key.
        store: its memory.
        clock: returns the present time, UTC-aware.

    Raises:
        ValueError: two logs of one name.
    """

    def __init__(
        self,
        logs: Iterable[VerifierKey],
        signer: CosignerSigner,
        *,
        store: Store,
        clock: Callable[[], datetime],
    ) -> None:
        keys = tuple(logs)
        self._logs = {key.name: key for key in keys}
        if len(self._logs) != len(keys):
            raise ValueError("two of the logs have the same name: a witness follows one history of each name")
        self._signer = signer
        self._store = store
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> bytes:
        """Cosign a checkpoint, and remember it first.

        Args:
            body: of the request.

        Returns:
            The signature line.

        Raises:
            Refused: it is not cosigned, and why.
            sqlite3.DatabaseError: it could not be remembered, so it is not cosigned.
        """
        request, checkpoint, text = self._read(body)
        refused: Refused | None = None
        with self._store.turn() as turn:
            latest = turn.latest(checkpoint.origin)
            try:
                _require_growth(request, checkpoint, latest)
            except Refused as error:
                refused = error
                if error.split is not None:
                    turn.put_split(error.split, checkpoint.root)
            else:
                # Anybody may show a public checkpoint again: that must not cost a write to the disk.
                if (latest.size, latest.root) != (checkpoint.size, checkpoint.root):
                    turn.put(checkpoint.origin, Latest(checkpoint.size, checkpoint.root, request.checkpoint))
                line = self._signer.cosign(text, self._clock()).line()
        if refused is not None:
            raise refused
        return line.encode()

    def _read(self, body: bytes) -> tuple[AddCheckpoint, Checkpoint, str]:
        try:
            request = AddCheckpoint.parse(body)
            text, _ = split_note(request.checkpoint)
            origin = text.split("\n", 1)[0]
            if origin not in self._logs:
                raise Refused(Status.UNKNOWN_LOG, "this witness does not follow this log")
            checkpoint = self._opened(request, origin)
        except (ProtocolError, NoteError, CheckpointError) as error:
            raise Refused(Status.MALFORMED, str(error)) from error
        if request.old > checkpoint.size:
            raise Refused(Status.MALFORMED, "the old size is larger than the checkpoint's")
        return request, checkpoint, text

    def _opened(self, request: AddCheckpoint, origin: str) -> Checkpoint:
        try:
            return open_checkpoint(request.checkpoint, self._logs[origin]).checkpoint
        except NoteError as error:
            raise Refused(Status.NOT_SIGNED, str(error)) from error


def _require_growth(request: AddCheckpoint, checkpoint: Checkpoint, latest: Latest) -> None:
    if latest.size == checkpoint.size and latest.root != checkpoint.root:
        split = Split(checkpoint.origin, checkpoint.size, latest.note, request.checkpoint)
        # The size is told to a client that does not know it yet; one that does is told the worse.
        size = None if request.old == latest.size else latest.size
        raise Refused(
            Status.CONFLICT, "another tree of this size was cosigned: the log split", size=size, split=split
        )
    if request.old != latest.size:
        raise Refused(Status.CONFLICT, "another size was cosigned last", size=latest.size)
    if request.old == 0:
        if request.proof:
            raise Refused(Status.INCONSISTENT, "from size 0 on there is nothing to prove")
        return
    try:
        verify_consistency(
            request.old, checkpoint.size, old_root=latest.root, new_root=checkpoint.root, proof=request.proof
        )
    except ProofError as error:
        raise Refused(Status.INCONSISTENT, str(error)) from error
