"""The lines of a batch: one spelling, provable one by one, by the same tree as the log's."""

from __future__ import annotations

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.batch.lines import (
    BatchLines,
    LineError,
    join_lines,
    prove_line,
    read_line,
    split_lines,
    verify_line,
)
from isthmus.canonical import canonical_json
from tests.unit.audit.ledger_world import decision

WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def spelled(number: int, /, **changes: object) -> bytes:
    members = {
        "index": number,
        "decision": "DENY",
        "reasons": ["CONSENT_MISSING"],
        "nonce": "00" * 16,
        "token": "1.a",
    }
    return canonical_json({name: value for name, value in (members | changes).items() if value is not None})


@given(st.integers(1, 600), st.data())
def test_any_line_of_any_batch_is_proven_and_no_other_passes_for_it(size: int, data: st.DataObject) -> None:
    lines = BatchLines.of([spelled(index) for index in range(size)], {"1.a"})
    record = decision(subject_count=size, subjects_root=lines.root, mode="BATCH")
    index = data.draw(st.integers(0, size - 1))
    path = prove_line(lines.hashes, index)
    assert verify_line(record, lines.lines[index], path).index == index
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index)) if size > 1 else size
    with pytest.raises(LineError):
        verify_line(record, spelled(other), path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 256, 257, 600])
def test_the_root_is_that_of_another_implementation(size: int) -> None:
    lines = BatchLines.of([spelled(index) for index in range(size)], set())
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for line in lines.lines:
        tree.append_entry(line)
    assert tree.get_root().hex() == lines.root
    assert b"".join(part for part, _ in lines.parts()) == lines.hashes
    assert [line for _, part in lines.parts() for line in split_lines(part)] == lines.lines


@given(st.lists(WORD.map(lambda word: canonical_json({"a": word})), min_size=1, max_size=5))
def test_lines_are_divided_as_they_were_joined(lines: list[bytes]) -> None:
    assert split_lines(join_lines(lines)) == lines


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        spelled(0) + b" ",
        spelled(0).replace(b'"index":0', b'"index": 0'),
        spelled(-1),
        spelled(0, index=None),
        spelled(0, index="0"),
        spelled(0, index=True),
        spelled(0, decision="MAYBE"),
        spelled(0, decision="ALLOW"),
        spelled(0, reasons=None),
        spelled(0, reasons=[]),
        spelled(0, reasons=[1]),
        spelled(0, token=""),
        spelled(0, nonce=None),
        spelled(0, digest="00"),
        spelled(0, rows=0),
        spelled(0, more="x"),
        b"x" * 5000,
    ],
)
def test_what_is_not_the_one_spelling_of_a_line_is_refused(line: bytes) -> None:
    with pytest.raises(LineError):
        read_line(line)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(LineError):
        read_line(data)


def test_a_line_that_is_not_there_is_not_proven() -> None:
    lines = BatchLines.of([spelled(0), spelled(1)], set())
    for index in (-1, 2):
        with pytest.raises(LineError):
            prove_line(lines.hashes, index)
    with pytest.raises(LineError):
        verify_line(decision(), spelled(0), [])
