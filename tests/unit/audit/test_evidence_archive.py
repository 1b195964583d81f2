"""The one form of a bundle: what other tools read, and what no bundle can hide."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.evidence.archive import ArchiveError, pack, unpack

NAMES = st.from_regex(
    r"[a-z0-9][a-zA-Z0-9._@-]{0,20}(/[a-zA-Z0-9][a-zA-Z0-9._@-]{0,20}){0,3}", fullmatch=True
)
FILES = st.dictionaries(NAMES, st.binary(max_size=300), min_size=1, max_size=8)


@given(FILES)
def test_what_is_packed_is_unpacked_here_and_by_others(files: dict[str, bytes]) -> None:
    data = pack(files)
    assert unpack(data) == files
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert archive.namelist() == sorted(files)


@given(st.binary(max_size=400))
def test_no_bytes_bring_anything_but_a_refusal(data: bytes) -> None:
    for each in (data, b"PK\x03\x04" + data):
        with pytest.raises(ArchiveError):
            unpack(each)


@given(FILES, st.data())
def test_any_change_is_refused(files: dict[str, bytes], choice: st.DataObject) -> None:
    data = bytearray(pack(files))
    at = choice.draw(st.integers(0, len(data) - 1))
    data[at] ^= choice.draw(st.integers(1, 255))
    with pytest.raises(ArchiveError):
        unpack(bytes(data))


@pytest.mark.parametrize(
    "name",
    ["", "../x", "/etc/passwd", "a/../b", "a//b", "C:\\x", "a\\b", "a/", ".x", "案件", "a\nb", "x" * 201],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ArchiveError):
        pack({name: b""})
    with pytest.raises(ArchiveError):
        unpack(zipped({name: b"x"}))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive of somebody else."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def test_a_bomb_is_never_unpacked() -> None:
    bomb = zipped({"range/leaves.jsonl": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(ArchiveError):
        unpack(bomb)


def test_a_file_stands_once_in_it() -> None:
    one = pack({"a": b"1"})
    with pytest.raises(ArchiveError):
        unpack(one[: one.index(b"PK\x01\x02")] + one)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.evidence.archive.MAX_BYTES", 10)
    with pytest.raises(ArchiveError, match="at most"):
        pack({"a": bytes(11)})
    monkeypatch.setattr("audit.evidence.archive.MAX_FILES", 1)
    with pytest.raises(ArchiveError, match="1 to 1"):
        pack({"a": b"", "b": b""})
