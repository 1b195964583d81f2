"""A witness cosigns what extends what it cosigned, and nothing else, whoever asks and in whatever order."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.keys import SignerKey
from audit.tlog.note import sign_note
from audit.witness.protocol import AddCheckpoint
from audit.witness.store import Store, StoreError
from audit.witness.witness import Refused, Status, Witness
from tests.unit.audit.witness_world import LOG, OTHER_LOG, SIGNER, History, leaves, utc_now, witness_in

AT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def refusal(witness: Witness, body: bytes) -> Refused:
    """Why it does not cosign."""
    with pytest.raises(Refused) as caught:
        witness.add_checkpoint(body)
    return caught.value


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return witness_in(tmp_path, clock=lambda: AT)


def test_a_log_that_grows_is_cosigned_each_time(witness: Witness) -> None:
    history = History(leaves(9))
    for old, new in ((0, 1), (1, 1), (1, 4), (4, 9), (9, 9)):
        line = witness.add_checkpoint(history.request(old, new))
        signed = open_checkpoint(history.note(new) + line, LOG.verifier, witnesses=[SIGNER.verifier])
        assert signed.note.signed_by(SIGNER.verifier) and SIGNER.verifier.time_in(signed.note) == AT


def test_a_fork_is_refused_at_every_size(witness: Witness) -> None:
    witness.add_checkpoint(History(leaves(5)).request(0))
    for size in range(5, 12):
        fork = History(leaves(size, fork_at=4))
        status = refusal(witness, fork.request(5)).status
        assert status is (Status.CONFLICT if size == 5 else Status.INCONSISTENT)


def test_a_rolled_back_log_is_told_what_was_cosigned(witness: Witness) -> None:
    history = History(leaves(9))
    witness.add_checkpoint(history.request(0))
    for old, new in ((0, 4), (4, 4), (4, 9), (3, 5)):
        error = refusal(witness, history.request(old, new))
        assert (error.status, error.size) == (Status.CONFLICT, 9)


def test_two_checkpoints_of_one_size_are_kept_as_proof_once(tmp_path: Path, witness: Witness) -> None:
    ours, theirs = History(leaves(5)), History(leaves(5, fork_at=4))
    witness.add_checkpoint(ours.request(0))
    told = refusal(witness, AddCheckpoint(0, (), theirs.note()).encode())
    assert (told.status, told.size) == (Status.CONFLICT, 5)
    assert refusal(witness, theirs.request(5)).size is None
    (split,) = Store(tmp_path / "witness.db", SIGNER.verifier.encode()).splits()
    assert (split.origin, split.size) == (LOG.verifier.name, 5)
    for note, history in ((split.ours, ours), (split.theirs, theirs)):
        assert open_checkpoint(note, LOG.verifier).checkpoint.root == history.root()


def test_a_witness_that_was_started_again_remembers(tmp_path: Path, witness: Witness) -> None:
    witness.add_checkpoint(History(leaves(5)).request(0))
    again = witness_in(tmp_path)
    assert refusal(again, History(leaves(8, fork_at=2)).request(5)).status is Status.INCONSISTENT
    again.add_checkpoint(History(leaves(8)).request(5))


def test_each_log_has_a_history_of_its_own(witness: Witness) -> None:
    witness.add_checkpoint(History(leaves(5)).request(0))
    witness.add_checkpoint(History(leaves(3, fork_at=0), OTHER_LOG).request(0))


def test_an_unknown_log_is_not_found(witness: Witness) -> None:
    stranger = SignerKey.from_seed("log.example/stranger", bytes(31) + b"\7")
    assert refusal(witness, History(leaves(1), stranger).request(0)).status is Status.UNKNOWN_LOG


def test_only_the_log_s_own_signature_counts(witness: Witness) -> None:
    impostor = SignerKey.from_seed(LOG.verifier.name, bytes(31) + b"\7")
    assert refusal(witness, History(leaves(1), impostor).request(0)).status is Status.NOT_SIGNED
    body = History(leaves(1)).request(0)
    assert refusal(witness, body[:-6] + b"AAAA=\n").status in (Status.NOT_SIGNED, Status.MALFORMED)


def test_malformed_requests_are_refused(witness: Witness) -> None:
    history = History(leaves(3))
    assert refusal(witness, b"").status is Status.MALFORMED
    assert refusal(witness, history.request(4, 3)).status is Status.MALFORMED
    assert refusal(witness, b"old 0\n\nx\n").status is Status.MALFORMED
    # What the log signed is no checkpoint.
    odd = sign_note(f"{LOG.verifier.name}\nmany\nAAAA\n", LOG)
    assert refusal(witness, AddCheckpoint(0, (), odd).encode()).status is Status.MALFORMED


def test_a_first_checkpoint_needs_no_proof_and_takes_none(witness: Witness) -> None:
    history = History(leaves(3))
    body = AddCheckpoint(0, history.proof(1, 3), history.note()).encode()
    assert refusal(witness, body).status is Status.INCONSISTENT
    witness.add_checkpoint(history.request(0))


def test_a_proof_too_many_is_refused(witness: Witness) -> None:
    history = History(leaves(3))
    witness.add_checkpoint(history.request(0))
    body = AddCheckpoint(3, (bytes(32),), history.note()).encode()
    assert refusal(witness, body).status is Status.INCONSISTENT


def test_what_cannot_be_remembered_is_not_cosigned(tmp_path: Path, witness: Witness) -> None:
    with sqlite3.connect(tmp_path / "witness.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON latest BEGIN SELECT RAISE(FAIL, 'full'); END")
    other.close()
    with pytest.raises(sqlite3.DatabaseError):
        witness.add_checkpoint(History(leaves(3)).request(0))


def test_a_memory_that_is_gone_is_not_begun_again(tmp_path: Path, witness: Witness) -> None:
    witness.add_checkpoint(History(leaves(3)).request(0))
    (tmp_path / "witness.db").unlink()
    with pytest.raises(sqlite3.DatabaseError):
        witness.add_checkpoint(History(leaves(3, fork_at=0)).request(0))
    with pytest.raises(StoreError, match="no memory.*init"):
        Store(tmp_path / "witness.db", SIGNER.verifier.encode())


def test_a_memory_belongs_to_one_key_and_is_never_replaced(tmp_path: Path, witness: Witness) -> None:
    with pytest.raises(StoreError, match="another key"):
        Store(tmp_path / "witness.db", "another")
    with pytest.raises(StoreError, match="never replaced"):
        Store.create(tmp_path / "witness.db", SIGNER.verifier.encode())
    (tmp_path / "odd.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="not the memory"):
        Store(tmp_path / "odd.db", SIGNER.verifier.encode())


def test_two_logs_of_one_name_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "witness.db", SIGNER.verifier.encode())
    twin = SignerKey.from_seed(LOG.verifier.name, bytes(31) + b"\7")
    with pytest.raises(ValueError, match="same name"):
        Witness([LOG.verifier, twin.verifier], SIGNER, store=store, clock=utc_now)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(body=st.binary(max_size=300))
def test_arbitrary_requests_are_only_refused(witness: Witness, body: bytes) -> None:
    refusal(witness, body)
    refusal(witness, b"old 0\n\n" + body)


class Liar(RuleBasedStateMachine):
    """A log with many histories tries everything; whatever was cosigned is one history."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._witness = witness_in(Path(self._folder.name))
        self._cosigned: dict[int, bytes] = {}
        self._sizes: list[int] = []

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(
        old=st.integers(0, 8),
        size=st.integers(1, 8),
        fork=st.sampled_from([None, 0, 2, 5]),
        proven=st.integers(0, 8),
    )
    def ask(self, old: int, size: int, fork: int | None, proven: int) -> None:
        history = History(leaves(size, fork_at=fork))
        self._send(history, old, history.proof(proven, size) if proven <= size else ())

    @rule(more=st.integers(0, 3), fork=st.sampled_from([None, None, 0, 2, 5]))
    def go_on(self, more: int, fork: int | None) -> None:
        old = self._sizes[-1] if self._sizes else 0
        history = History(leaves(old + max(more, not old), fork_at=fork))
        self._send(history, old, history.proof(old, history.size))

    def _send(self, history: History, old: int, proof: tuple[bytes, ...]) -> None:
        size = history.size
        try:
            self._witness.add_checkpoint(AddCheckpoint(old, proof, history.note()).encode())
        except Refused:
            return
        self._cosigned.setdefault(size, history.root())
        assert self._cosigned[size] == history.root()
        self._sizes.append(size)
        self._newest = history

    @invariant()
    def one_history(self) -> None:
        assert self._sizes == sorted(self._sizes)
        for size, root in self._cosigned.items():
            assert self._newest.root(size) == root


TestLiar = Liar.TestCase
TestLiar.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_a_memory_whose_making_was_cut_off_is_no_memory_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, key = tmp_path / "witness.db", SIGNER.verifier.encode()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", cut)
        with pytest.raises(KeyboardInterrupt):
            Store.create(path, key)
    assert not path.exists()
    Store.create(path, key)
    with pytest.raises(StoreError, match="never replaced"):
        Store.create(path, key)
    assert [each.name for each in tmp_path.iterdir()] == ["witness.db"]
