"""What a witness, whoever is on the way to it, or whoever runs the log might try against those who vouch for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.config import WitnessEntry
from audit.http import Answer, Unreachable
from audit.independence import covered_by_witnesses
from audit.kept import Contradiction, NotWitnessed, require_witnessed, require_witnesses
from audit.ledger import Ledger
from audit.ledger.schema import cosignatures
from audit.main import AuditServer, StartError
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.note import split_note
from audit.witness.client import NotCosigned, Trouble, WitnessClient
from audit.witness.config import WitnessSettings
from audit.witness.protocol import SIZE_TYPE, AddCheckpoint
from audit.witness.rounds import CosigningRound
from audit.witness.store import Store
from audit.witness.stored import newest_cosigned, newest_quorum, put_cosignatures
from audit.witness.witness import Refused, Witness
from tests.integration.audit_world import AuditWorld
from tests.unit.audit.ledger_world import KEY, Clock, append, decision, ledger_in
from tests.unit.audit.witness_world import LOG, OTHER_LOG, SIGNER, History, leaves, utc_now

pytestmark = pytest.mark.integration

ONE, TWO = (CosignerSigner.from_seed(f"{name}.example/w", name.encode().ljust(32)) for name in ("one", "two"))


# ---- Rounds


class Watcher:
    """Remembers who did not cosign."""

    def __init__(self) -> None:
        self.troubles: list[tuple[str, Trouble]] = []

    def not_cosigned(self, witness: str, trouble: Trouble) -> None:
        """A witness did not."""
        self.troubles.append((witness, trouble))


def witness_post(folder: Path, signer: CosignerSigner) -> Callable[..., Answer]:
    """A witness of the tests' ledger without a network between."""
    store = Store.create(folder / f"{signer.verifier.key_id.hex()}.db", signer.verifier.encode())
    witness = Witness([KEY.verifier], signer, store=store, clock=utc_now)

    def post(url: str, body: bytes, *, kind: str, most: int) -> Answer:
        try:
            return Answer(200, "text/plain", witness.add_checkpoint(body))
        except Refused as error:
            said = SIZE_TYPE if error.size is not None else "text/plain"
            return Answer(int(error.status), said, f"{error.size}\n".encode())

    return post


def client(name: str, signer: CosignerSigner, post: Callable[..., Answer]) -> WitnessClient:
    """How the service asks a witness."""
    return WitnessClient(name, signer.verifier, "http://x", post, utc_now)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision(), decision())
        yield ledger


def sizes(ledger: Ledger) -> list[tuple[str, int]]:
    """Whose cosignature of what is kept."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(cosignatures.c.witness, cosignatures.c.size))
        return sorted((row.witness, row.size) for row in rows)


def test_a_witness_that_hangs_holds_up_no_other_cosignature(tmp_path: Path, ledger: Ledger) -> None:
    over = threading.Event()

    def hang(url: str, body: bytes, *, kind: str, most: int) -> Answer:
        over.wait(20)
        raise Unreachable("late")

    watcher = Watcher()
    clients = [client("slow", TWO, hang), client("good", ONE, witness_post(tmp_path, ONE))]
    rounds = CosigningRound(ledger, clients, watcher=watcher, clock=Clock())
    rounds._timeout_s = 1.0
    running = threading.Thread(target=rounds.run, daemon=True)
    running.start()
    try:
        deadline = time.monotonic() + 5
        while ("good", 2) not in sizes(ledger):
            assert time.monotonic() < deadline, "what came is not kept"
        running.join(5)
        assert not running.is_alive(), "the round has no end"
        assert watcher.troubles == [("slow", Trouble.UNREACHABLE)]
        # The next round does not pile up another thread on it.
        assert rounds.run() == 1 and watcher.troubles == [("slow", Trouble.UNREACHABLE)] * 2
    finally:
        over.set()


def test_a_witness_that_breaks_its_client_harms_no_other(tmp_path: Path, ledger: Ledger) -> None:
    def broken(url: str, body: bytes, *, kind: str, most: int) -> Answer:
        raise RuntimeError("odd")

    watcher = Watcher()
    clients = [client("odd", TWO, broken), client("good", ONE, witness_post(tmp_path, ONE))]
    assert CosigningRound(ledger, clients, watcher=watcher, clock=Clock()).run() == 1
    assert watcher.troubles == [("odd", Trouble.UNREACHABLE)] and sizes(ledger) == [("good", 2)]


def test_somebody_who_shows_a_witness_newer_checkpoints_raises_no_alarm_and_starves_nobody(
    tmp_path: Path, ledger: Ledger
) -> None:
    honest = witness_post(tmp_path, ONE)
    known, fed = [0], [True]

    def overtaken(url: str, body: bytes, *, kind: str, most: int) -> Answer:
        if not fed[0]:
            fed[0] = True
            append(ledger, decision())
            head = ledger.newest()
            with ledger.read() as connection:
                proof = ledger.tree(connection).consistency_proof(known[0], head.size)
            newer = AddCheckpoint(known[0], tuple(proof), head.note).encode()
            assert honest(url, newer, kind=kind, most=most).status == 200
        answer = honest(url, body, kind=kind, most=most)
        if answer.status == 200:
            known[0] = int(AddCheckpoint.parse(body).checkpoint.split(b"\n")[1])
        return answer

    watcher = Watcher()
    rounds = CosigningRound(ledger, [client("office", ONE, overtaken)], watcher=watcher, clock=Clock())
    for number in range(4):
        assert rounds.run() == 1
        assert ("office", 2 + number) in sizes(ledger) and not watcher.troubles
        fed[0] = False


def test_a_witness_that_knows_more_than_was_ever_logged_is_still_an_alarm(ledger: Ledger) -> None:
    watcher = Watcher()
    ahead = client("office", ONE, lambda *_, **__: Answer(409, SIZE_TYPE, b"99\n"))
    assert CosigningRound(ledger, [ahead], watcher=watcher, clock=Clock()).run() == 0
    assert watcher.troubles == [("office", Trouble.ROLLED_BACK)]


def test_a_cosignature_of_a_text_that_a_blank_line_made_longer_is_refused() -> None:
    history = History(leaves(9))
    note = history.note()
    line = SIGNER.cosign(note.decode(), utc_now()).line().encode()
    evil = client("evil", SIGNER, lambda *_, **__: Answer(200, "text/plain", b"\n" + line))
    with pytest.raises(NotCosigned) as caught:
        evil.cosign(note, 9, last=0, proof=history.proof)
    assert caught.value.trouble is Trouble.INVALID


# ---- Counting


def keep(ledger: Ledger, **signers: CosignerSigner) -> None:
    """These cosign the newest checkpoint."""
    head = ledger.newest()
    text = split_note(head.note)[0]
    lines = {name: each.cosign(text, utc_now()) for name, each in signers.items()}
    ledger.transact(lambda tx: put_cosignatures(tx.connection, head.size, lines, at_ms=head.at_ms))


def test_a_witness_under_two_names_is_no_quorum(ledger: Ledger) -> None:
    keep(ledger, office=ONE, office_new=ONE)
    with ledger.read() as connection:
        assert newest_quorum(connection, 2) == 0 and newest_quorum(connection, 1) == 2


def test_only_the_witnesses_that_are_named_count(ledger: Ledger) -> None:
    keep(ledger, one=ONE, two=TWO)
    with ledger.read() as connection:
        assert newest_quorum(connection, 2) == 2
        assert newest_quorum(connection, 2, keys=[ONE.verifier]) == 0
        assert covered_by_witnesses(connection, 2, keys=[ONE.verifier]).size == 0


def test_a_larger_cosigned_checkpoint_covers_a_smaller(ledger: Ledger) -> None:
    keep(ledger, one=ONE)
    append(ledger, decision())
    keep(ledger, two=TWO)
    with ledger.read() as connection:
        assert [newest_quorum(connection, each) for each in (1, 2, 3)] == [3, 2, 0]


def test_one_quick_witness_does_not_hide_the_checkpoint_that_enough_cosigned(ledger: Ledger) -> None:
    keep(ledger, one=ONE, two=TWO)
    append(ledger, decision())
    keep(ledger, one=ONE, one_again=ONE)
    with ledger.read() as connection:
        found = [newest_cosigned(connection, required=each) for each in (1, 2, 3)]
        beyond = newest_cosigned(connection, required=2, beyond=2)
    assert [each.size for each in found if each is not None] == [3, 2, 3]
    assert beyond is not None and beyond.size == 3


# ---- What a consumer kept

GOOD, FORK = History(leaves(20)), History(leaves(15, fork_at=9))


def cosigned(note: bytes, *signers: CosignerSigner) -> bytes:
    """With their lines."""
    text = split_note(note)[0]
    return note + b"".join(each.cosign(text, utc_now()).line().encode() for each in signers)


def witnessed(kept: bytes, now: bytes, seen: bytes, proof: Callable[[int, int], tuple[bytes, ...]]) -> int:
    """How far the witness vouches."""
    found = require_witnessed(
        kept, now, seen, LOG.verifier, witnesses=[SIGNER.verifier], required=1, proof=proof
    )
    assert found.cosigned.keys() == {SIGNER.verifier.name}
    return found.size


def test_a_fork_beyond_what_witnesses_saw_is_not_vouched_for() -> None:
    with pytest.raises(NotWitnessed, match="9 records, and what you kept reaches 12"):
        witnessed(FORK.note(12), FORK.note(15), cosigned(GOOD.note(9), SIGNER), FORK.proof)


def test_a_fork_that_is_shown_beside_the_cosigned_branch_is_a_contradiction() -> None:
    def proof(old: int, new: int) -> tuple[bytes, ...]:
        return FORK.proof(old, new) if new == 15 else GOOD.proof(old, new)

    now, seen = FORK.note(15), cosigned(GOOD.note(20), SIGNER)
    with pytest.raises(Contradiction) as caught:
        witnessed(GOOD.note(7), now, seen, proof)
    assert set(caught.value.notes) == {now, seen}


def test_an_honest_log_passes() -> None:
    assert witnessed(GOOD.note(7), GOOD.note(20), cosigned(GOOD.note(9), SIGNER), GOOD.proof) == 9
    assert witnessed(GOOD.note(9), GOOD.note(9), cosigned(GOOD.note(9), SIGNER), GOOD.proof) == 9


@pytest.mark.parametrize(
    "signers",
    [
        (SIGNER, SIGNER),
        (SIGNER, CosignerSigner.from_seed("alias.example/x", bytes(31) + b"\2")),
        (CosignerSigner.from_seed(LOG.verifier.name, bytes(32)),),
    ],
)
def test_one_key_is_one_witness_and_the_logs_own_is_none(signers: tuple[CosignerSigner, ...]) -> None:
    note = cosigned(GOOD.note(9), *dict.fromkeys(signers))
    with pytest.raises(ValueError, match="same key|own key"):
        require_witnesses(note, LOG.verifier, [each.verifier for each in signers], required=len(signers))


def test_a_service_whose_witness_is_the_log_itself_does_not_start(tmp_path: Path) -> None:
    world = AuditWorld(tmp_path)
    try:
        own = CosignerSigner.from_seed("office.example/w", KEY._private.private_bytes_raw())
        entry = WitnessEntry(name="own", vkey=own.verifier.encode(), url="http://127.0.0.1:1")
        with pytest.raises(StartError, match="own key"):
            AuditServer(
                replace(world.config(), witnesses=(entry,)), clock=utc_now, registry=CollectorRegistry()
            )
    finally:
        world.close()


def test_a_witness_of_one_log_twice_is_refused(tmp_path: Path) -> None:
    key = LOG.verifier
    for logs in ((key, key), (key, type(key)("other.example", key.public_key))):
        with pytest.raises(ValueError, match="a key of its own"):
            WitnessSettings(
                address="127.0.0.1:0",
                key=tmp_path,
                memory=tmp_path,
                logs=tuple(each.encode() for each in logs),
            )
    both = tuple(each.verifier.encode() for each in (LOG, OTHER_LOG))
    WitnessSettings(address="127.0.0.1:0", key=tmp_path, memory=tmp_path, logs=both)
