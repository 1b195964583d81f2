"""The rounds in which the audit service shows its newest checkpoint to every witness and keeps what they sign."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

from audit.ledger import Head, Ledger
from audit.record import milliseconds
from audit.tlog.note import Signature
from audit.witness.client import NotCosigned, Trouble, WitnessClient
from audit.witness.stored import newest_of, put_cosignatures
from isthmus.log import logger


class Watcher(Protocol):
    """Is told of every witness that did not cosign."""

    def not_cosigned(self, witness: str, trouble: Trouble) -> None: ...


class CosigningRound:
    """One round: all witnesses are shown the same checkpoint, at the same time, so that they can be a quorum for it.

    Args:
        ledger: whose newest checkpoint is shown, and which keeps the cosignatures.
        witnesses: whom to show it to.
        watcher: is told.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        ledger: Ledger,
        witnesses: Sequence[WitnessClient],
        *,
        watcher: Watcher,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._witnesses = tuple(witnesses)
        self._watcher = watcher
        self._clock = clock
        self._log = logger("audit.witness")

    def run(self) -> int:
        """Show the newest checkpoint; return how many witnesses cosigned it.

        A checkpoint that they cosigned before is shown again: that it is still the newest is worth knowing.

        Raises:
            Unavailable: the ledger cannot be read, or cannot keep what was signed.
        """
        head, at_ms = self._ledger.newest(), milliseconds(self._clock())
        if not head.size:
            return 0
        with ThreadPoolExecutor(len(self._witnesses), thread_name_prefix="witness") as pool:
            signatures = list(pool.map(lambda witness: self._ask(witness, head), self._witnesses))
        names = [witness.name for witness in self._witnesses]
        found = {name: line for name, line in zip(names, signatures, strict=True) if line is not None}
        if found:
            self._keep(head, found, at_ms)
        return len(found)

    def _ask(self, witness: WitnessClient, head: Head) -> Signature | None:
        try:
            with self._ledger.read() as connection:
                last = newest_of(connection, witness.name)
            # Our own database may know a size that the witness never did, or forgets: it says so, and is believed.
            known = min(last.size, head.size) if last is not None else 0
            return witness.cosign(head.note, head.size, last=known, proof=self._proof)
        except NotCosigned as error:
            self._watcher.not_cosigned(witness.name, error.trouble)
            alarm = error.trouble in (Trouble.ROLLED_BACK, Trouble.FORKED)
            say = self._log.error if alarm else self._log.warning
            say("not cosigned", witness=witness.name, trouble=error.trouble.value, problem=str(error))
            return None

    def _keep(self, head: Head, found: Mapping[str, Signature], at_ms: int) -> None:
        self._ledger.transact(lambda tx: put_cosignatures(tx.connection, head.size, found, at_ms=at_ms))

    def _proof(self, old: int, new: int) -> Sequence[bytes]:
        with self._ledger.read() as connection:
            return self._ledger.tree(connection).consistency_proof(old, new)
