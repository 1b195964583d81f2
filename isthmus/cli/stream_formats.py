"""The forms of a file of rows. CSV and JSON Lines are written as rows come; Arrow and Parquet grow as an Arrow IPC stream,
which can be cut and gone on with, and take their own form at the end.
"""

import csv
import importlib
import io
import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from isthmus.cli.output import cell, plain
from isthmus.cli.part_file import PartFile, PartFileError
from isthmus.client.arrow import ArrowReader, pyarrow
from isthmus.client.streams import StreamPart
from isthmus.client.values import Python

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""


class Format(StrEnum):
    """The form of a file, by the end of its name."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSONL = "jsonl"

    @property
    def arrow(self) -> bool:
        """Whether it is made of Arrow batches."""
        return self in (Format.PARQUET, Format.ARROW)


class Writer(Protocol):
    """Turns parts of a stream into bytes of the part file."""

    def take(self, part: StreamPart) -> tuple[bytes, int]:
        """The bytes of a part, and how many rows they hold."""


def writer_of(form: Format, names: Sequence[str], file: PartFile) -> Writer:
    """Returns what writes a form into a part file that may hold rows already."""
    if form.arrow:
        return _Spool(file)
    return _Csv(names, begun=file.mark.size > 0) if form is Format.CSV else _JsonLines()


def conversion_of(form: Format) -> Callable[[Path, Path], None] | None:
    """Returns what makes the file from the part file; None where they are the same."""
    return {Format.PARQUET: _to_parquet, Format.ARROW: _to_arrow}.get(form)


def safe(value: Python) -> str:
    """A value as a cell of CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = cell(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


class _Csv:
    """RFC 4180, UTF-8, with a header."""

    def __init__(self, names: Sequence[str], *, begun: bool) -> None:
        self._names = names
        self._begun = begun

    def take(self, part: StreamPart) -> tuple[bytes, int]:
        """As `Writer.take`."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if not self._begun:
            self._begun = True
            writer.writerow([safe(name) for name in self._names])
        writer.writerows([safe(value) for value in row.values()] for row in part.rows)
        return text.getvalue().encode(), len(part.rows)


class _JsonLines:
    """One JSON object a line."""

    def take(self, part: StreamPart) -> tuple[bytes, int]:
        """As `Writer.take`."""
        lines = [json.dumps(row, ensure_ascii=False, default=plain) + "\n" for row in part.rows]
        return "".join(lines).encode(), len(lines)


class _Spool:
    """The messages of one Arrow IPC stream."""

    def __init__(self, file: PartFile) -> None:
        self._reader = ArrowReader()
        self._file = file

    def take(self, part: StreamPart) -> tuple[bytes, int]:
        """As `Writer.take`."""
        first = self._reader.schema is None
        batch = self._reader.read(part.arrow) if part.arrow else None
        if first and self._file.mark.size:
            if self._file.head(len(part.arrow)) != part.arrow:
                raise PartFileError(f"{self._file.path} has other columns than the stream that should go on")
            return b"", 0
        return part.arrow, 0 if batch is None else batch.num_rows


def _to_arrow(stream: Path, out: Path) -> None:
    _copy(stream, lambda schema: pyarrow().ipc.new_file(str(out), schema))


def _to_parquet(stream: Path, out: Path) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    _copy(stream, lambda schema: parquet.ParquetWriter(str(out), schema, compression="zstd"))


def _copy(stream: Path, open_writer: Callable[[Any], Any]) -> None:
    """Batch by batch, so that a file of any size takes the memory of one."""
    with (
        pyarrow().OSFile(str(stream), "rb") as source,
        pyarrow().ipc.open_stream(source) as reader,
        open_writer(reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
