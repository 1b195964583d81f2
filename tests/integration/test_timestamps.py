"""Checkpoints are timestamped by somebody else's clock, and only what that authority signed is kept and believed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit.http import HttpPost
from audit.independence import covered_by_timestamps
from audit.ledger import Ledger
from audit.ledger.offline import open_offline
from audit.timestamps import TimestampError, load_roots, verify_token, verify_tokens
from audit.timestamps.rounds import Failure, TimestampRound
from audit.timestamps.stored import stored_tokens
from audit.timestamps.token import make_request
from audit.tlog.keys import SignerKey
from isthmus.cli.main import app
from isthmus.pki import create_authority
from tests.integration.http_peer import Said, http_peer
from tests.integration.timestamp_authority import TimestampAuthority
from tests.unit.audit.ledger_world import KEY, append, decision, ledger_in
from tests.unit.audit.witness_world import utc_now

pytestmark = pytest.mark.integration

STRANGER = create_authority("data.example", now=utc_now()).certificate
NOTE = b"log.example\n1\nx\n\n\xe2\x80\x94 x y\n"


class Watcher:
    """Remembers what failed."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def not_stamped(self, failure: Failure) -> None:
        """A round failed."""
        self.failures.append(failure)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("tsa") / "one")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        yield ledger


def round_of(ledger: Ledger, authority: TimestampAuthority, url: str, watcher: Watcher) -> TimestampRound:
    """A round against an authority at this address."""
    return TimestampRound(
        ledger,
        "tsa",
        url=url,
        roots=load_roots(authority.roots),
        post=HttpPost(5.0),
        watcher=watcher,
        clock=utc_now,
    )


def test_the_newest_checkpoint_is_stamped_once(ledger: Ledger, authority: TimestampAuthority) -> None:
    watcher = Watcher()
    with authority.serving() as url:
        stamping = round_of(ledger, authority, url, watcher)
        assert stamping.run() and stamping.run()
        append(ledger, decision(), decision())
        assert stamping.run()
    with ledger.read() as connection:
        tokens = list(stored_tokens(connection))
        found = list(verify_tokens(connection, load_roots(authority.roots)))
        assert covered_by_timestamps(connection).waiting_since is None
        later = list(verify_tokens(connection, load_roots(authority.roots), beyond=1))
    assert [each.size for each in tokens] == [each.size for each in found] == [1, 3]
    assert all(abs((each.at - utc_now()).total_seconds()) < 60 for each in found) and later == found[1:]
    assert not watcher.failures
    for each in tokens:
        assert each.note is not None and "Verification: OK" in authority.verify(each.response, each.note)


def test_what_the_record_waits_for_is_counted_from_its_own_time(
    ledger: Ledger, authority: TimestampAuthority
) -> None:
    with authority.serving() as url:
        round_of(ledger, authority, url, Watcher()).run()
    append(ledger, decision())
    first = ledger.newest().at_ms
    append(ledger, decision())
    with ledger.read() as connection:
        coverage = covered_by_timestamps(connection)
    assert coverage.size == 1 and coverage.waiting_since is not None
    assert coverage.waiting_since.timestamp() * 1000 == first


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (lambda reply: Said(b""), Failure.INVALID),
        (lambda reply: Said(b"0" * 50), Failure.INVALID),
        (lambda reply: Said(reply[:-1]), Failure.INVALID),
        (lambda reply: Said(reply[:-9] + bytes([reply[-9] ^ 1]) + reply[-8:]), Failure.INVALID),
        (lambda reply: Said(reply, 500), Failure.REFUSED),
        (lambda reply: Said(b"x" * 200_000), Failure.UNREACHABLE),
    ],
)
def test_no_answer_but_a_timestamp_is_kept(
    ledger: Ledger, authority: TimestampAuthority, answer: Callable[[bytes], Said], failure: Failure
) -> None:
    watcher = Watcher()
    with http_peer(lambda _, query: answer(authority.reply(query))) as url:
        assert not round_of(ledger, authority, url, watcher).run()
    assert watcher.failures == [failure]
    with ledger.read() as connection:
        assert not list(stored_tokens(connection))


def test_an_old_timestamp_that_is_sent_again_is_refused(
    ledger: Ledger, authority: TimestampAuthority
) -> None:
    old, watcher = authority.reply(make_request(ledger.newest().note).as_bytes()), Watcher()
    with http_peer(lambda *_: Said(old)) as url:
        assert not round_of(ledger, authority, url, watcher).run()
    assert watcher.failures == [Failure.INVALID]


def test_a_timestamp_by_a_stranger_or_of_something_else_is_refused(
    tmp_path: Path, authority: TimestampAuthority
) -> None:
    roots = load_roots(authority.roots)
    response = authority.reply(make_request(NOTE).as_bytes())
    assert verify_token(response, NOTE, roots)
    with pytest.raises(TimestampError, match="Mismatch between messages"):
        verify_token(response, NOTE + b"x", roots)
    stranger = TimestampAuthority(tmp_path / "stranger")
    with pytest.raises(TimestampError):
        verify_token(response, NOTE, load_roots(stranger.roots))
    with pytest.raises(TimestampError, match="no authority is trusted"):
        verify_token(response, NOTE, ())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_timestamp(response: bytes) -> None:
    with pytest.raises(TimestampError):
        verify_token(response, NOTE, [STRANGER])


@pytest.mark.parametrize("position", range(0, 1200, 97))
def test_a_changed_byte_of_a_timestamp_is_noticed_or_changes_nothing(
    authority: TimestampAuthority, position: int
) -> None:
    roots = load_roots(authority.roots)
    response = bytearray(authority.reply(make_request(NOTE).as_bytes()))
    truth = verify_token(bytes(response), NOTE, roots)
    response[position % len(response)] ^= 1
    try:
        assert verify_token(bytes(response), NOTE, roots) == truth
    except TimestampError:
        pass


def test_a_checkpoint_that_was_changed_afterwards_is_named(
    tmp_path: Path, ledger: Ledger, authority: TimestampAuthority
) -> None:
    with authority.serving() as url:
        round_of(ledger, authority, url, Watcher()).run()
    arguments = ["audit", "timestamps", str(tmp_path / "ledger.db"), "--roots", str(authority.roots)]
    listed = CliRunner().invoke(app, [*arguments, "--json"])
    assert listed.exit_code == 0, listed.stderr
    (row,) = json.loads(listed.stdout)["timestamps"]
    assert (row["authority"], row["size"]) == ("tsa", 1)
    with sqlite3.connect(tmp_path / "ledger.db") as database:
        database.execute("UPDATE checkpoints SET note = note || x'20' WHERE size = 1")
    database.close()
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1 and "the timestamp of size 1 by tsa" in refused.stderr
    with open_offline(str(tmp_path / "ledger.db")) as connection, pytest.raises(TimestampError):
        list(verify_tokens(connection, load_roots(authority.roots)))


def test_a_timestamp_moved_to_another_checkpoint_is_named(
    tmp_path: Path, ledger: Ledger, authority: TimestampAuthority
) -> None:
    with authority.serving() as url:
        round_of(ledger, authority, url, Watcher()).run()
    roots, path = load_roots(authority.roots), tmp_path / "ledger.db"
    append(ledger, decision())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 1)")
        database.execute("UPDATE timestamps SET size = 2")
    database.close()
    for key in (None, KEY.verifier):
        with open_offline(str(path)) as connection, pytest.raises(TimestampError, match="of size 1$"):
            list(verify_tokens(connection, roots, key=key))


def test_a_stamped_checkpoint_that_the_log_did_not_sign_is_refused_to_those_who_know_its_key(
    tmp_path: Path, ledger: Ledger, authority: TimestampAuthority
) -> None:
    with authority.serving() as url:
        round_of(ledger, authority, url, Watcher()).run()
    stranger = tmp_path / "log.pub"
    stranger.write_text(SignerKey.generate(KEY.verifier.name).verifier.encode())
    own = tmp_path / "own.pub"
    own.write_text(KEY.verifier.encode())
    arguments = ["audit", "timestamps", str(tmp_path / "ledger.db"), "--roots", str(authority.roots)]
    assert CliRunner().invoke(app, [*arguments, "--vkey", str(own)]).exit_code == 0
    refused = CliRunner().invoke(app, [*arguments, "--vkey", str(stranger)])
    assert refused.exit_code == 1 and "the timestamp of size 1 by tsa" in refused.stderr


def test_an_authority_whose_clock_is_off_is_not_believed(
    ledger: Ledger, authority: TimestampAuthority
) -> None:
    watcher = Watcher()
    with authority.serving() as url:
        stamping = round_of(ledger, authority, url, watcher)
        stamping._clock = lambda: utc_now() + timedelta(hours=1)
        assert not stamping.run()
    assert watcher.failures == [Failure.INVALID]


@pytest.mark.parametrize("command", [["timestamps"], ["cosignatures"]])
def test_a_file_that_is_no_ledger_is_refused_in_words(
    tmp_path: Path, authority: TimestampAuthority, command: list[str]
) -> None:
    odd, empty = tmp_path / "odd.db", tmp_path / "empty.db"
    odd.write_bytes(b"odd" * 1000)
    sqlite3.connect(empty).close()
    for path in (odd, empty):
        more = ["--roots", str(authority.roots)] if command == ["timestamps"] else []
        refused = CliRunner().invoke(app, ["audit", *command, str(path), *more])
        assert refused.exit_code == 1 and "cannot be read as a ledger" in refused.stderr
        assert isinstance(refused.exception, SystemExit)


def test_roots_that_are_too_long_are_refused_instead_of_cut(
    tmp_path: Path, authority: TimestampAuthority
) -> None:
    roots = authority.roots.read_bytes()
    (tmp_path / "long.pem").write_bytes(roots + b"\n" * (1 << 20))
    with pytest.raises(TimestampError, match="longer"):
        load_roots(tmp_path / "long.pem")


def test_roots_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TimestampError, match="cannot be read"):
        load_roots(tmp_path / "none.pem")
    (tmp_path / "odd.pem").write_text("odd")
    with pytest.raises(TimestampError, match="PEM"):
        load_roots(tmp_path / "odd.pem")
