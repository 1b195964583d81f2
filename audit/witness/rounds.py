"""The rounds in which the audit service shows its newest checkpoint to every witness and keeps what they sign."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Protocol

from audit.ledger import Head, Ledger
from audit.record import milliseconds
from audit.tlog.note import Signature
from audit.witness.client import TRIES, Ahead, NotCosigned, Trouble, WitnessClient
from audit.witness.stored import newest_of, put_cosignatures
from isthmus.log import logger

_Answers = SimpleQueue[tuple[WitnessClient, tuple[int, Signature] | None]]


class Watcher(Protocol):
    """Is told of every witness that did not cosign."""

    def not_cosigned(self, witness: str, trouble: Trouble) -> None: ...


class CosigningRound:
    """One round: all witnesses are shown the same checkpoint, at the same time. None of them waits for another.

    Args:
        ledger: whose newest checkpoint is shown, and which keeps the cosignatures.
        witnesses: whom to show it to.
        watcher: is told.
        clock: returns the present time, UTC-aware.
        timeout_s: seconds that a round takes at most; a witness that answers later has not answered.
    """

    def __init__(
        self,
        ledger: Ledger,
        witnesses: Sequence[WitnessClient],
        *,
        watcher: Watcher,
        clock: Callable[[], datetime],
        timeout_s: float = 60.0,
    ) -> None:
        self._ledger = ledger
        self._witnesses = tuple(witnesses)
        self._watcher = watcher
        self._clock = clock
        self._timeout_s = timeout_s
        self._asked: set[str] = set()
        self._log = logger("audit.witness")

    def run(self) -> int:
        """Show the newest checkpoint; return how many witnesses cosigned it, or a newer one.

        What a witness signs is kept when it comes. A checkpoint that they cosigned before is shown again: that it is
        still the newest is worth knowing.

        Raises:
            Unavailable: the ledger cannot be read, or cannot keep what was signed.
        """
        head = self._ledger.newest()
        if not head.size:
            return 0
        answers: _Answers = SimpleQueue()
        deadline = time.monotonic() + self._timeout_s
        waiting = {each.name for each in self._witnesses if self._begin(each, head, answers)}
        kept = 0
        while waiting:
            try:
                witness, signed = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            waiting.discard(witness.name)
            if signed is not None:
                self._keep(witness, *signed)
                kept += 1
        for name in sorted(waiting):
            self._failed(name, NotCosigned(Trouble.UNREACHABLE, "it takes too long"))
        return kept

    def _begin(self, witness: WitnessClient, head: Head, answers: _Answers) -> bool:
        """Ask a witness, in a thread that no exit waits for; return whether it is asked."""
        if witness.name in self._asked:
            self._failed(witness.name, NotCosigned(Trouble.UNREACHABLE, "it still has not answered"))
            return False

        def ask() -> None:
            answer = self._ask(witness, head)
            self._asked.discard(witness.name)
            answers.put((witness, answer))

        self._asked.add(witness.name)
        threading.Thread(target=ask, name=f"witness {witness.name}", daemon=True).start()
        return True

    def _ask(self, witness: WitnessClient, head: Head) -> tuple[int, Signature] | None:
        try:
            return self._cosigned(witness, head)
        except NotCosigned as error:
            self._failed(witness.name, error)
        except Exception as error:  # noqa: BLE001 - what fails for one witness must not keep the others waiting
            # The type alone: a message could quote what was being read.
            self._failed(witness.name, NotCosigned(Trouble.UNREACHABLE, type(error).__name__))
        return None

    def _cosigned(self, witness: WitnessClient, head: Head) -> tuple[int, Signature]:
        with self._ledger.read() as connection:
            last = newest_of(connection, witness.name)
        # Our own database may know a size that the witness never did, or forgets: it says so, and is believed.
        known = min(last.size, head.size) if last is not None else 0
        for _ in range(TRIES):
            try:
                return head.size, witness.cosign(head.note, head.size, last=known, proof=self._proof)
            except Ahead as ahead:
                # Checkpoints are public: anybody may have shown it one that was logged since this round began.
                newest = self._ledger.newest()
                if ahead.size > newest.size:
                    raise
                head, known = newest, ahead.size
        raise NotCosigned(Trouble.REFUSED, "somebody else shows it a newer checkpoint each time")

    def _keep(self, witness: WitnessClient, size: int, signature: Signature) -> None:
        lines, at_ms = {witness.name: signature}, milliseconds(self._clock())
        self._ledger.transact(lambda tx: put_cosignatures(tx.connection, size, lines, at_ms=at_ms))

    def _failed(self, witness: str, error: NotCosigned) -> None:
        self._watcher.not_cosigned(witness, error.trouble)
        alarm = error.trouble in (Trouble.ROLLED_BACK, Trouble.FORKED)
        say = self._log.error if alarm else self._log.warning
        say("not cosigned", witness=witness, trouble=error.trouble.value, problem=str(error))

    def _proof(self, old: int, new: int) -> Sequence[bytes]:
        with self._ledger.read() as connection:
            return self._ledger.tree(connection).consistency_proof(old, new)
