"""Loading CSV files into a database, all of them or none.

One table a file, named after it; every column TEXT; an empty cell is NULL. A department that has only files gets a
database to put behind a manifest. The types are then declared there, where an official can read them.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import event

from services.tables import nearest, quoted

MAX_COLUMNS: Final = 1_000
MAX_LINE_BYTES: Final = 8 << 20
_MAX_NAME: Final = 128
_BATCH: Final = 1_000
_BOM: Final = "\ufeff"
_ATOMIC: Final = frozenset({"sqlite", "postgresql"})

Progress = Callable[[Path, int], None]
"""Called with a file and how many more of its bytes have been read."""


class LoadError(ValueError):
    """A file or a database cannot be used; nothing was loaded. The message names file and line, never a value."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A table that was made."""

    table: str
    file: Path
    columns: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load.

    Args:
        encoding: of the files, for example `utf-8` or `gb18030`.
        indexes: table and column of each index to make.
        replace: whether tables that exist are replaced.
    """

    encoding: str = "utf-8"
    indexes: tuple[tuple[str, str], ...] = ()
    replace: bool = False


def csv_files(paths: Iterable[Path]) -> list[Path]:
    """The CSV files among `paths`, folders standing for the CSV files directly in them.

    Raises:
        LoadError: a path does not exist, a folder holds none, or two files would make the same table.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                each for each in path.iterdir() if each.suffix.lower() == ".csv" and each.is_file()
            )
            if not inside:
                raise LoadError(f"{path}: holds no .csv files; name a folder that does")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise LoadError(f"{path}: does not exist")
    seen: dict[str, Path] = {}
    for file in files:
        # Names of tables ignore case in most databases.
        if (name := file.stem.casefold()) in seen:
            raise LoadError(f"{file}: makes the same table as {seen[name]}; rename one of them")
        seen[name] = file
    return files


def load_csv(
    files: Sequence[Path],
    url: str,
    options: LoadOptions,
    *,
    progress: Progress = lambda _file, _size: None,
) -> list[Loaded]:
    """Loads files into a database in one transaction.

    Args:
        files: as `csv_files` returns them.
        url: SQLite or PostgreSQL, whose transactions cover CREATE TABLE too.
        options: how to load.
        progress: told about bytes as they are read.

    Raises:
        LoadError: a file is malformed, a table exists, an index names no column, or the database refuses.
    """
    with _transaction(url) as connection:
        loaded = [_load_file(connection, file, options, progress) for file in files]
        _make_indexes(connection, loaded, options.indexes)
    return loaded


@contextmanager
def _transaction(url: str) -> Iterator[sa.Connection]:
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError):
        raise LoadError("the database URL cannot be used; write one such as sqlite:///file.db") from None
    if engine.dialect.name not in _ATOMIC:
        raise LoadError(
            f"{engine.dialect.name} cannot take back CREATE TABLE; load into sqlite or postgresql"
        )
    fresh = _fresh_file(engine)
    if engine.dialect.name == "sqlite":
        # Python's own handling begins a transaction at the first INSERT, too late for CREATE TABLE.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    done = False
    try:
        with engine.begin() as connection:
            yield connection
        done = True
    except sa.exc.SQLAlchemyError as error:
        raise LoadError(f"the database refused: {type(error).__name__}; nothing was loaded") from None
    finally:
        engine.dispose()
        if fresh is not None and not done:
            fresh.unlink(missing_ok=True)


def _fresh_file(engine: sa.Engine) -> Path | None:
    """The SQLite file that this load will make, if it does not exist yet."""
    if engine.dialect.name != "sqlite":
        return None
    if engine.url.database in (None, "", ":memory:"):
        raise LoadError("the database URL names no file; write sqlite:///file.db")
    path = Path(str(engine.url.database))
    if not path.parent.is_dir():
        raise LoadError(f"{path.parent}: the folder of the database does not exist; make it first")
    return None if path.exists() else path


def _load_file(connection: sa.Connection, file: Path, options: LoadOptions, progress: Progress) -> Loaded:
    records = _records(file, options.encoding, progress)
    names = _header(file, next(records, (1, []))[1])
    table = _make_table(connection, file, names, replace=options.replace)
    insert = sa.insert(table)
    batch: list[dict[str, str | None]] = []
    count = 0
    for line, record in records:
        if len(record) != len(names):
            raise LoadError(f"{file}:{line}: has {len(record)} cells where the header has {len(names)}")
        batch.append({f"c{i}": cell or None for i, cell in enumerate(record)})
        if len(batch) == _BATCH:
            connection.execute(insert, batch)
            count, batch = count + len(batch), []
    if batch:
        connection.execute(insert, batch)
    return Loaded(file.stem, file, len(names), count + len(batch))


def _records(file: Path, encoding: str, progress: Progress) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, and the line it ends on."""
    reader = csv.reader(_lines(file, encoding, progress), strict=True)
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise LoadError(f"{file}:{reader.line_num}: is no CSV: {error}") from None
        if record:
            yield reader.line_num, record


def _lines(file: Path, encoding: str, progress: Progress) -> Iterator[str]:
    try:
        with file.open("rb") as stream:
            # Line by line, so that a wrong byte has a line number.
            for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
                if len(raw) > MAX_LINE_BYTES:
                    raise LoadError(f"{file}:{number}: is longer than {MAX_LINE_BYTES} bytes")
                line = _decode(file, number, raw, encoding)
                yield line.removeprefix(_BOM) if number == 1 else line
                progress(file, len(raw))
    except OSError as error:
        raise LoadError(f"{file}: cannot be read: {error.strerror}") from None


def _decode(file: Path, number: int, raw: bytes, encoding: str) -> str:
    try:
        line = raw.decode(encoding)
    except UnicodeDecodeError:
        raise LoadError(
            f"{file}:{number}: is not {encoding}; name the file's encoding, such as --encoding gb18030"
        ) from None
    except LookupError:
        raise LoadError(f"{quoted(encoding)} is no encoding; write utf-8 or gb18030") from None
    if "\0" in line:
        raise LoadError(f"{file}:{number}: holds a NUL character, so it is no text")
    return line


def _header(file: Path, names: Sequence[str]) -> list[str]:
    if not names:
        raise LoadError(f"{file}:1: is empty; the first line must name the columns")
    if len(names) > MAX_COLUMNS:
        raise LoadError(f"{file}:1: names {len(names)} columns; at most {MAX_COLUMNS} are loaded")
    seen: set[str] = set()
    for position, name in enumerate(names, 1):
        if not name.strip() or len(name) > _MAX_NAME:
            raise LoadError(f"{file}:1: column {position} needs a name of 1 to {_MAX_NAME} characters")
        if name.casefold() in seen:
            raise LoadError(f"{file}:1: names the column {quoted(name)} twice")
        seen.add(name.casefold())
    return list(names)


def _make_table(connection: sa.Connection, file: Path, names: Sequence[str], *, replace: bool) -> sa.Table:
    # Keys of their own, so that a name may hold any character.
    columns = [sa.Column(name, sa.Text, key=f"c{i}") for i, name in enumerate(names)]
    table = sa.Table(file.stem, sa.MetaData(), *columns)
    if sa.inspect(connection).has_table(file.stem):
        if not replace:
            raise LoadError(f"{file}: the table {quoted(file.stem)} exists already; --replace replaces it")
        table.drop(connection)
    table.create(connection)
    return table


def _make_indexes(
    connection: sa.Connection, loaded: Sequence[Loaded], indexes: Iterable[tuple[str, str]]
) -> None:
    known = [each.table for each in loaded]
    for table_name, column_name in indexes:
        if table_name not in known:
            raise LoadError(f"--index: {quoted(table_name)} is not loaded; {nearest(table_name, known)}")
        table = sa.Table(table_name, sa.MetaData(), autoload_with=connection)
        if column_name not in table.columns:
            hint = nearest(column_name, list(table.columns.keys()))
            raise LoadError(f"--index: {quoted(table_name)} has no column {quoted(column_name)}; {hint}")
        sa.Index(f"ix_{table_name}_{column_name}", table.columns[column_name]).create(connection)
