"""The one form of a bundle: a ZIP file (PKWARE APPNOTE 6.3) of stored members in order of their names, and nothing else.

No compression, no comments, no extra fields, no directories, the date 1980-01-01: the same files always give the same
bytes. A reader therefore packs what it has read again and compares, so any other spelling of the archive is refused, and
no member can hide beside, behind or twice in it, grow when it is unpacked, or name a place outside.
"""

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

MAX_BYTES: Final = 64 << 20
MAX_FILES: Final = 40_000
MAX_NAME: Final = 200

_NAME: Final = re.compile(r"[a-z0-9][a-zA-Z0-9._@-]*(?:/[a-zA-Z0-9][a-zA-Z0-9._@-]*)*|README\.md")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_READER, _WRITER = 10, (3 << 8) | 20
_MODE: Final = 0o100644 << 16
_TIME, _DATE = 0, 0x21

MARK: Final = _LOCAL_MARK
"""How a bundle begins."""


class ArchiveError(ValueError):
    """The archive is not in its one form, or too large. `where` is the member concerned, or `the archive`."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(problem)
        self.where = where


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files.

    Raises:
        ArchiveError: a name of another form, or too many or too large files.
    """
    if not 0 < len(files) <= MAX_FILES:
        raise ArchiveError("the archive", f"a bundle holds 1 to {MAX_FILES} files")
    if sum(map(len, files.values())) > MAX_BYTES:
        raise ArchiveError("the archive", f"a bundle holds at most {MAX_BYTES >> 20} MiB")
    members, entries, offset = list[bytes](), list[bytes](), 0
    for name, data in sorted(files.items()):
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise ArchiveError("the archive", "a file in it has a name that no bundle has")
        raw, crc, size = name.encode("ascii"), zlib.crc32(data), len(data)
        local = _LOCAL.pack(_LOCAL_MARK, _READER, 0, 0, _TIME, _DATE, crc, size, size, len(raw), 0)
        central = (_WRITER, _READER, 0, 0, _TIME, _DATE, crc, size, size, len(raw), 0, 0, 0, 0, _MODE, offset)
        members += [local, raw, data]
        entries += [_CENTRAL.pack(_CENTRAL_MARK, *central), raw]
        offset += len(local) + len(raw) + size
    directory = b"".join(entries)
    end = _END.pack(_END_MARK, 0, 0, len(files), len(files), len(directory), offset, 0)
    return b"".join([*members, directory, end])


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of an archive that `pack` made.

    Raises:
        ArchiveError: it is another archive, or damaged; names the first member that is not what its checksum says.
    """
    if len(data) > MAX_BYTES + MAX_FILES * 2 * (MAX_NAME + 76):
        raise ArchiveError("the archive", f"is larger than {MAX_BYTES >> 20} MiB of files")
    files, damaged, at = dict[str, bytes](), "", 0
    while data[at : at + 4] == _LOCAL_MARK:
        name, content, crc, at = _member(data, at)
        if name in files or len(files) == MAX_FILES:
            raise ArchiveError("the archive", "holds a file twice, or too many of them")
        if not damaged and zlib.crc32(content) != crc:
            damaged = name
        files[name] = content
    if damaged:
        raise ArchiveError(damaged, "is not what its checksum says")
    if not files or pack(files) != data:
        raise ArchiveError(
            "the archive", "is not in the one form of a bundle: something in it was changed or added"
        )
    return files


def _member(data: bytes, at: int) -> tuple[str, bytes, int, int]:
    header = data[at : at + _LOCAL.size]
    if len(header) < _LOCAL.size:
        raise ArchiveError("the archive", "is cut off")
    *_, crc, size, _, length, _ = _LOCAL.unpack(header)
    begin = at + _LOCAL.size + length
    raw = data[at + _LOCAL.size : begin]
    if len(data) < begin + size:
        raise ArchiveError("the archive", "is cut off")
    name = raw.decode("latin-1")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ArchiveError("the archive", "a file in it has a name that no bundle has")
    return name, data[begin : begin + size], crc, begin + size
