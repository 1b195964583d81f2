"""The ledger: serialised transactions over control state and access records, each with its own signed checkpoint."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.ledger.errors import (
    LedgerDamaged,
    LedgerForked,
    LedgerKeyMismatch,
    LedgerRolledBack,
    LedgerUnavailable,
    LedgerUnpinned,
)
from audit.ledger.pin import Pin
from audit.ledger.schema import METADATA, checkpoints, create_missing, meta
from audit.ledger.sqlite import SqliteStore
from audit.ledger.statements import Statements
from audit.ledger.transaction import Commit, Transaction
from audit.ledger.tree import Head, StoredTiles, load_edge, newest_checkpoint, require_progress
from audit.metrics import LedgerMetrics
from audit.record import milliseconds
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import SignerKey, VerifierKey
from audit.tlog.tree import Edge, Tree

T = TypeVar("T")
SCHEMA_VERSION = "1"
MAX_CLOCK_SKEW = timedelta(seconds=60)
"""How far a process's clock may be behind the newest checkpoint before its transactions are refused."""


class Ledger:
    """One process's access to the ledger; safe to use from many threads. Make it with `open`."""

    def __init__(
        self,
        store: SqliteStore,
        key: SignerKey,
        pin: Pin | None,
        *,
        clock: Callable[[], datetime],
        timeout: float,
    ) -> None:
        self._store = store
        self._key = key
        self._pin = pin
        self._clock = clock
        self._timeout = timeout
        self._turn = threading.Lock()
        self._writer: sa.Connection | None = None
        self._edge: tuple[Head, Edge] | None = None
        self._seen: Head | None = None
        self._metrics: LedgerMetrics | None = None
        self._sql = Statements.compile(store)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        log_key: SignerKey,
        pin: Path | None,
        clock: Callable[[], datetime],
        metadata: Sequence[sa.MetaData] = (),
        registry: CollectorRegistry | None = None,
        report_head: bool = True,
        commit_timeout: float = 5.0,
    ) -> "Ledger":
        """Open the ledger, and create what is missing of it.

        Args:
            url: `sqlite:///` and a path.
            log_key: signs the checkpoints; its name is the log's origin.
            pin: where the newest checkpoint is kept outside the database; see `audit.ledger.pin`.
            clock: returns the present time, UTC-aware.
            metadata: further tables that live in the same database and transactions.
            registry: where the metrics are registered; none are without it.
            report_head: whether they include the size and age of the log, which all its processes report alike.
            commit_timeout: seconds that a transaction may take unless it names its own deadline.

        Raises:
            LedgerRolledBack, LedgerForked: the database contradicts the pin.
            LedgerUnpinned: the log holds records, and the pin is missing.
            LedgerDamaged: it contradicts itself.
            LedgerKeyMismatch: it was begun with another key.
            LedgerUnavailable: it cannot be opened or written.
        """
        keeper = Pin(pin, log_key.verifier) if pin else None
        store = SqliteStore(url, timeout=commit_timeout)
        ledger = cls(store, log_key, keeper, clock=clock, timeout=commit_timeout)
        try:
            with ledger._guard():
                ledger._begin_log([METADATA, *metadata])
            ledger._check_pin()
        except BaseException:
            store.close()
            raise
        if registry is not None:
            newest = ledger.newest if report_head else None
            ledger._metrics = LedgerMetrics(registry, newest, clock, store.storage)
        return ledger

    @property
    def verifier_key(self) -> VerifierKey:
        """The public key of the log."""
        return self._key.verifier

    def transact(self, work: Callable[[Transaction], T], *, deadline_s: float | None = None) -> Commit[T]:
        """Run `work` while nobody else writes, and make all that it did durable at once.

        An exception from `work` rolls everything back and goes on to the caller. When the disk itself hangs in
        the middle of a commit, the call hangs with it (others give up at their deadline); the answer must not be
        released before it returns.

        Args:
            work: reads and writes control tables and appends records; MUST NOT commit. It may append many.
            deadline_s: seconds from now after which nothing is committed; `commit_timeout` unless given.

        Raises:
            LedgerUnavailable: locked, full, unwritable, out of time, not to be trusted, or of unknown outcome
                after an I/O error. Nobody was told of any record, so nothing may be released.
            DuplicateDecision: an exchange was decided before.
        """
        started = time.monotonic()
        deadline = started + (self._timeout if deadline_s is None else deadline_s)
        if not self._turn.acquire(timeout=max(0.0, deadline - started)):
            raise LedgerUnavailable("other transactions of this process took all the time this one had")
        try:
            if self._pin:
                self._pin.require()
            with self._guard():
                commit, head = self._serialised(work, deadline)
        finally:
            self._turn.release()
        if self._pin:
            self._pin.offer(head.size, head.note)
        if self._metrics and commit.leaf_hashes:
            self._metrics.committed(len(commit.leaf_hashes), time.monotonic() - started)
        return commit

    @contextmanager
    def read(self, *, deadline_s: float | None = None) -> Iterator[sa.Connection]:
        """A snapshot of the whole database that cannot be written to.

        Args:
            deadline_s: seconds from now after which a statement under way is given up; never unless given.

        Raises:
            LedgerUnavailable: it cannot be read, or not in time.
        """
        try:
            with (
                self._store.reader() as connection,
                self._store.stop_after(connection, deadline_s),
                connection.begin(),
            ):
                yield connection
        except sa.exc.TimeoutError as error:
            raise LedgerUnavailable("too many readers at once") from error
        except self._store.errors as error:
            self._translate(error)
            raise

    def newest(self) -> Head:
        """The newest checkpoint.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        with self.read() as connection:
            return self.head(connection)

    def head(self, connection: sa.Connection) -> Head:
        """The newest checkpoint that a snapshot holds."""
        head = newest_checkpoint(connection)
        if head is None:
            raise LedgerDamaged("it has no checkpoint")
        return head

    def tree(self, connection: sa.Connection) -> Tree:
        """Roots and proofs from a snapshot's tiles."""
        return Tree(StoredTiles(connection))

    def close(self) -> None:
        """Pin what is committed and let go of the database."""
        if self._pin:
            self._pin.close()
        with self._turn:
            self._discard()
            self._store.close()

    def _serialised(self, work: Callable[[Transaction], T], deadline: float) -> tuple[Commit[T], Head]:
        connection = self._connection(deadline)
        with connection.begin() as begun:
            head, edge = self._current(connection)
            transaction = Transaction(connection, self._now(head), head.size)
            value = work(transaction)
            if not begun.is_active:
                raise RuntimeError("the work ended the ledger's transaction, which only the ledger may")
            if transaction.rows:
                head, edge = self._extend(transaction, edge)
            if time.monotonic() > deadline:
                raise LedgerUnavailable("the transaction took longer than it may; nothing was written")
        # Only now: an edge that was not committed must never be appended to.
        self._edge, self._seen = (head, edge), head
        hashes = {row[0]: row[2] for row in transaction.rows}
        return Commit(value, head.size, head.note.decode(), hashes), head

    def _now(self, head: Head) -> datetime:
        """The clock, but never before the newest checkpoint: a window that ended has ended for every process."""
        now, latest = self._clock(), datetime.fromtimestamp(head.at_ms / 1000, UTC)
        if (behind := latest - now) > MAX_CLOCK_SKEW:
            raise LedgerUnavailable(f"this process's clock is {behind} behind the log; set the clocks right")
        return max(now, latest)

    def _connection(self, deadline: float) -> sa.Connection:
        if self._writer is None:
            self._writer = self._store.writer()
        self._store.wait_at_most(deadline - time.monotonic())
        return self._writer

    def _current(self, connection: sa.Connection) -> tuple[Head, Edge]:
        rows = self._store.run(connection, self._sql.newest)
        if not rows:
            raise LedgerDamaged("it has no checkpoint")
        head = Head(*rows[0])
        if self._edge and (self._edge[0].size, self._edge[0].root) == (head.size, head.root):
            return self._edge
        if self._seen:
            require_progress(connection, head, self._seen)
        return head, load_edge(connection, head, self._key.verifier)

    def _extend(self, transaction: Transaction, edge: Edge) -> tuple[Head, Edge]:
        growth = edge.append([row[2] for row in transaction.rows])
        size = growth.edge.size
        note = sign_checkpoint(Checkpoint(self._key.verifier.name, size, growth.root), self._key)
        head = Head(size, growth.root, note, milliseconds(transaction.now))
        tiles = [(level, index, data) for (level, index), data in growth.tiles.items()]
        try:
            self._write(transaction, tiles, head)
        except self._store.conflict as error:
            raise transaction.contradiction() from error
        return head, growth.edge

    def _write(self, transaction: Transaction, tiles: list[tuple[int, int, bytes]], head: Head) -> None:
        writes = (
            (self._sql.record, transaction.rows),
            (self._sql.reason, transaction.reasons),
            (self._sql.detail, transaction.details),
            (self._sql.subject, transaction.subjects),
            (self._sql.lines, transaction.lines),
            (self._sql.tile, tiles),
            (self._sql.checkpoint, [(head.size, head.root, head.note, head.at_ms)]),
        )
        for sql, rows in writes:
            if rows:
                self._store.run(transaction.connection, sql, rows)

    def _begin_log(self, metadata: Sequence[sa.MetaData]) -> None:
        connection = self._connection(time.monotonic() + self._timeout)
        with connection.begin():
            for each in metadata:
                create_missing(connection, each)
            if not _meta(connection) and newest_checkpoint(connection) is None:
                self._begin_empty(connection)
            self._check_meta(connection)
            head, edge = self._current(connection)
        self._edge, self._seen = (head, edge), head

    def _begin_empty(self, connection: sa.Connection) -> None:
        edge, key = Edge.empty(), self._key.verifier
        note = sign_checkpoint(Checkpoint(key.name, 0, edge.root), self._key)
        connection.execute(checkpoints.insert(), {"size": 0, "root": edge.root, "note": note, "at_ms": 0})
        values = {"schema": SCHEMA_VERSION, "log_key": key.encode()}
        connection.execute(meta.insert(), [{"key": name, "value": value} for name, value in values.items()])

    def _check_meta(self, connection: sa.Connection) -> None:
        values = _meta(connection)
        if values.get("schema") != SCHEMA_VERSION:
            raise LedgerDamaged(f"its tables are not of version {SCHEMA_VERSION}")
        key = self._key.verifier.encode()
        if values.get("log_key") != key:
            raise LedgerKeyMismatch(values.get("log_key", "(none)"), key)

    def _check_pin(self) -> None:
        if self._pin is None or self._seen is None:
            return
        # Others may commit meanwhile. The pin, read before the database, is never ahead of it; and records that were
        # there before it was looked for have one.
        pinned = self._pin.read()
        if pinned is None and self._seen.size:
            raise LedgerUnpinned(self._pin.path, self._seen.size)
        with self.read() as connection:
            head = self.head(connection)
            if pinned and pinned.size > head.size:
                raise LedgerRolledBack(head.size, pinned.size)
            if pinned:
                _require_prefix(self.tree(connection), pinned)
        self._pin.offer(head.size, head.note)
        self._pin.flush()
        self._pin.start()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except self._store.errors as error:
            self._discard()
            self._translate(error)
            raise
        except LedgerUnavailable:
            self._discard()
            raise

    def _translate(self, error: Exception) -> None:
        if cause := self._store.explain(error):
            raise LedgerUnavailable(cause) from error

    def _discard(self) -> None:
        # After an I/O error nothing that was read or held before may be believed (fsync may have dropped it).
        writer, self._writer, self._edge = self._writer, None, None
        if writer is not None:
            with suppress(*self._store.errors):
                writer.invalidate()
                writer.close()


def _meta(connection: sa.Connection) -> dict[str, str]:
    return {row.key: row.value for row in connection.execute(sa.select(meta))}


def _require_prefix(tree: Tree, pinned: Checkpoint) -> None:
    try:
        root = tree.root(pinned.size)
    except TlogError as error:
        raise LedgerDamaged(f"its tree cannot be read: {error}") from error
    if root != pinned.root:
        raise LedgerForked(pinned.size)
