"""Reading `department.toml`. Every problem is reported at once, with its place and its remedy."""

import os
import tomllib
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from isthmus.identity import IdentityError, require_trust_domain
from isthmus.names import SLUG
from isthmus.tracing import TracingSettings
from services.manifest import (
    DatasetEntry,
    Manifest,
    ManifestError,
    ServerSettings,
    SourceSettings,
)
from services.manifest_datasets import SLUG_FORM, read_dataset
from services.tables import Problem, Table, quoted

MAX_FILE_BYTES: Final = 4 << 20
MAX_SECRET_BYTES: Final = 64 << 10
MAX_DATASETS: Final = 256
MAX_ANSWER_BYTES: Final = 3_900_000
"""Leaves room for columns and receipt within gRPC's message limit of 4 MiB."""


def load_manifest(path: Path, *, environ: Mapping[str, str] | None = None) -> Manifest:
    """Reads a manifest. Relative paths in it start at the file's own folder.

    Args:
        path: the TOML file, UTF-8.
        environ: `ISTHMUS_SOURCE_URL_FILE` and the like replace keys of [server], [source], [journal] and [tracing];
            the process's environment unless given.

    Raises:
        ManifestError: the file cannot be read or breaks a rule; names every problem.
    """
    problems: list[Problem] = []
    root = Table(_parse(path), "", problems)
    reader = _Reader(path, root, os.environ if environ is None else environ)
    manifest = reader.manifest()
    if problems:
        raise ManifestError(path, tuple(problems))
    return manifest


def _parse(path: Path) -> dict[str, Any]:
    def fail(what: str, remedy: str) -> ManifestError:
        return ManifestError(path, (Problem("the file", what, remedy),))

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise fail(f"is larger than {MAX_FILE_BYTES} bytes", "split the datasets over several nodes")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", "give the path of a readable file") from None
    except UnicodeDecodeError as error:
        raise fail(f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise fail(f"is not TOML: {error}", "correct that line") from None


class _Reader:
    def __init__(self, path: Path, root: Table, environ: Mapping[str, str]) -> None:
        self._path = path
        self._folder = path.parent
        self._root = root
        self._environ = environ

    def manifest(self) -> Manifest:
        own = self._root.table("department", "[department]")
        department = own.text("name", max_length=63, pattern=SLUG, form=SLUG_FORM)
        title = own.text("title")
        own.finish()
        manifest = Manifest(
            path=self._path,
            department=department,
            title=title,
            tracing=self._tracing(),
            server=self._server() if self._root.given("server") else None,
            source=self._source(),
            journal_url=self._journal(),
            datasets=self._datasets(department),
        )
        self._root.finish()
        return manifest

    def _section(self, name: str) -> Table:
        prefix = f"ISTHMUS_{name.upper()}_"
        overrides = {
            key.removeprefix(prefix).lower(): value
            for key, value in self._environ.items()
            if key.startswith(prefix)
        }
        return self._root.table(name, f"[{name}]", overrides=overrides)

    def _server(self) -> ServerSettings:
        table = self._section("server")
        trust_domain = table.text("trust_domain")
        try:
            require_trust_domain(trust_domain)
        except IdentityError as error:
            if trust_domain:
                table.problem("trust_domain", str(error), "write the domain of the certificates")
        settings = ServerSettings(
            trust_domain=trust_domain,
            address=table.text("address", pattern=r".+:[0-9]{1,5}", form="host:port, such as 0.0.0.0:7443"),
            certificate=self._file(table, "certificate"),
            key=self._file(table, "key"),
            ca=self._file(table, "ca"),
            metrics=table.text("metrics", default="", pattern=r".+:[0-9]{1,5}", form="host:port"),
            threads=table.number("threads", default=32, low=1, high=512),
            max_streams=table.number("max_streams", default=4, low=1, high=256),
            hash_key=self._file(table, "hash_key") if table.given("hash_key") else None,
        )
        if settings.max_streams >= settings.threads:
            what = f"is {settings.max_streams}, and there are {settings.threads} threads"
            table.problem("max_streams", what, "a stream keeps a thread: leave some for other calls")
        table.finish()
        return settings

    def _tracing(self) -> TracingSettings:
        table = self._section("tracing")
        endpoint = table.text("endpoint", default="", max_length=300)
        table.finish()
        try:
            return TracingSettings(endpoint=endpoint).or_from(self._environ)
        except ValueError as error:
            table.problem("endpoint", str(error), "write http://collector.example:4317")
            return TracingSettings()

    def _file(self, table: Table, key: str) -> Path:
        return self._folder / table.text(key, max_length=4096, form="the path of a file")

    def _source(self) -> SourceSettings:
        table = self._section("source")
        settings = SourceSettings(
            url=self._url(table),
            schema=table.text("schema", default="", max_length=128),
            timezone=self._timezone(table),
            statement_timeout_seconds=table.number("statement_timeout_seconds", default=10, low=1, high=600),
            max_rows_per_subject=table.number("max_rows_per_subject", default=1_000, low=1, high=100_000),
            max_rows_per_answer=table.number("max_rows_per_answer", default=50_000, low=1, high=1_000_000),
            max_answer_bytes=table.number(
                "max_answer_bytes", default=3 << 20, low=1024, high=MAX_ANSWER_BYTES
            ),
            pool_size=table.number("pool_size", default=8, low=1, high=256),
        )
        table.finish()
        return settings

    def _timezone(self, table: Table) -> str:
        name = table.text("timezone", default="UTC", max_length=64)
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            table.problem("timezone", f"{quoted(name)} is no time zone", "write an IANA name: Asia/Shanghai")
        return name

    def _url(self, table: Table) -> str:
        ways = [key for key in ("url", "url_file", "url_env") if table.given(key)]
        if len(ways) != 1:
            what = "is missing" if not ways else f"is given together with {' and '.join(ways[1:])}"
            table.problem("url", what, "write exactly one of url, url_file and url_env")
            return "sqlite://"
        return self._checked_url(table, ways[0], self._secret(table, ways[0]))

    def _secret(self, table: Table, way: str) -> str:
        text = table.text(way, max_length=4096)
        if way == "url_env":
            if text and text not in self._environ:
                table.problem(way, "names a variable that is not set", "set it to the database's URL")
            return self._environ.get(text, "")
        if way == "url":
            return text
        try:
            with (self._folder / text).open("rb") as file:
                return file.read(MAX_SECRET_BYTES).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            table.problem(way, "cannot be read", "name a file that holds the database's URL")
            return ""

    def _checked_url(self, table: Table, way: str, text: str) -> str:
        if not text:
            return "sqlite://"
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            table.problem(way, "is no database URL", "write one such as postgresql+psycopg://user@host/base")
            return "sqlite://"
        if way == "url" and url.password:
            table.problem(way, "holds a password", "put the URL into a file and name it with url_file")
        if url.get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                table.problem(way, "names no file", "write sqlite:///path/of/file.db")
                return "sqlite://"
            url = url.set(database=str(self._folder / str(url.database)))
        return url.render_as_string(hide_password=False)

    def _journal(self) -> str:
        table = self._section("journal")
        text = table.text("url", default="sqlite:///journal.db", max_length=4096)
        if table.given("url_file"):
            text = self._secret(table, "url_file")
        url = self._checked_url(table, "url", text)
        table.finish()
        return url

    def _datasets(self, department: str) -> tuple[DatasetEntry, ...]:
        contents = self._root.tables("dataset", max_items=MAX_DATASETS)
        if not contents and self._root.given("dataset") is False:
            self._root.problem("dataset", "is missing", "describe at least one dataset under [[dataset]]")
        entries = [
            read_dataset(content, position, department=department, problems=self._root.problems)
            for position, content in enumerate(contents, 1)
        ]
        seen: set[str] = set()
        for entry in entries:
            if entry.id in seen:
                self._root.problem(
                    "dataset", f"{quoted(entry.id)} is described twice", "give each its own id"
                )
            seen.add(entry.id)
        return tuple(entries)
