"""Records as Apache Parquet, a row group at a time. Needs the extra `arrow` (pyarrow).

The index of a Parquet file stands at its end, so a file cannot be gone on with: `isthmus audit export` fetches JSON Lines,
which can, and makes the file from them.
"""

import importlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from audit.export.columns import COLUMNS, NUMBER_COLUMNS, Row, values_of
from audit.export.lines import MAX_LINE_BYTES, read_json_line
from audit.record import RecordError
from audit.search.query import Found

GROUP: Final = 8192
GROUP_BYTES: Final = 8 << 20
"""Rows in a row group, and the size of their leaves: what is in memory at once."""


class ParquetMissing(ValueError):
    """pyarrow is not installed."""

    def __init__(self) -> None:
        super().__init__("Parquet needs pyarrow, which is not installed here: install isthmus[arrow]")


class ParquetWriter:
    """Writes one Parquet file into memory, from which the bytes are taken as they come about.

    Raises:
        ParquetMissing: pyarrow is not installed.
    """

    def __init__(self) -> None:
        self._arrow, parquet = _arrow()
        self._sink = _Sink()
        kinds = {"index": self._arrow.uint64(), "time": self._arrow.timestamp("ms", tz="UTC")}
        numbers = dict.fromkeys(NUMBER_COLUMNS[1:], self._arrow.uint64())
        kinds = {**dict.fromkeys(COLUMNS, self._arrow.string()), **kinds, **numbers}
        self._schema = self._arrow.schema(list(kinds.items()))
        target = self._arrow.PythonFile(self._sink, mode="w")
        self._writer = parquet.ParquetWriter(target, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def write(self, found: Iterable[Found]) -> bytes:
        """Takes records; returns the next bytes of the file, which may be none yet."""
        for each in found:
            self._rows.append(values_of(Row.of(each.index, each.leaf)))
            self._size += len(each.leaf)
            if len(self._rows) == GROUP or self._size >= GROUP_BYTES:
                self._flush()
        return self._sink.take()

    def close(self) -> bytes:
        """The last bytes of the file."""
        self._flush()
        self._writer.close()
        return self._sink.take()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._size = [], 0


def require_parquet() -> None:
    """Return only if Parquet can be written here. Raises ParquetMissing."""
    _arrow()


def parquet_from_json_lines(lines: Path, out: Path) -> None:
    """Makes a Parquet file from the JSON Lines of an export.

    Raises:
        ParquetMissing: pyarrow is not installed.
        RecordError: a line is no record.
    """
    writer = ParquetWriter()
    with lines.open("rb") as source, out.open("wb") as target:
        for found in _read(source):
            target.write(writer.write([found]))
        target.write(writer.close())


class _Sink(io.RawIOBase):
    """A file of which the front is taken away while it grows: offsets in it count from its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Appends."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        """How much has been written."""
        return self._size

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _read(source: Any) -> Iterator[Found]:
    while line := source.readline(MAX_LINE_BYTES + 1):
        if not line.endswith(b"\n"):
            raise RecordError("a line of the export is cut off, or too long")
        yield read_json_line(line[:-1])


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ParquetMissing from None
