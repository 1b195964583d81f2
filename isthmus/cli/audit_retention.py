"""`isthmus audit erase`, `purge`, `archive` and the keys of the subject tokens: what the ledger's keeper does offline.

These commands read `audit.toml` and write to the ledger itself, beside the gateways and the audit service that go on
serving. Each says in the log what it destroyed, in the transaction that destroys it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.audit_keeper import Certificate, Config, Key, Why, in_words, keeper, stated
from isthmus.cli.inputs import subject as read_subject
from isthmus.cli.output import Json, print_facts, print_json
from isthmus.cli.progress import Bar

Before = Annotated[str, typer.Option("--before", help="A date, or an RFC 3339 time; records from before it.")]


def erase(
    subject: Annotated[
        str, typer.Option("--subject", help="SCHEME:ID, or SCHEME:- to read the id from standard input.")
    ],
    reason: Why,
    ordered_by: Annotated[
        str,
        typer.Option(
            "--ordered-by",
            help="The decision that orders it before the legal minimum, such as an authority's; also committed to.",
        ),
    ] = "",
    config: Config = Path("audit.toml"),
    certificate: Certificate = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase what can be erased about one person: salts, reasons of searches, and their lines of batches.

    The records themselves stay, and every proof holds. Records younger than the legal minimum are left as they are unless
    somebody who may has ordered otherwise. What was erased is counted in the log, which does not say whose it was.
    """
    from audit.keys import load_subject_tokens
    from audit.retention.erase import ErasureOrder, erase_subject
    from audit.search.lookup import SubjectIndex

    asked = read_subject(subject)
    with keeper(config, certificate, key) as own:
        settings = own.config.subjects
        index = SubjectIndex(load_subject_tokens(settings.keys, settings.current), settings.schemes)
        _, tokens = index.find(asked)
        order = ErasureOrder(tokens=tokens, reason=stated(reason), ordered_by=ordered_by.strip())
        done = erase_subject(own.ledger, order, own.actor, own.rule)
        emptied = own.empty()
    facts: dict[str, Any] = {"details": done.details, "lines": done.lines, "kept": done.kept}
    facts |= {"recorded": [f"records/{each}" for each in done.positions], "left_in_files": not emptied}
    _print(facts, as_json=as_json)
    if done.kept:
        years = f"{own.rule.minimum_years} years ({own.rule.citation})"
        typer.echo(
            f"kept: {done.kept} records are younger than {years}; --ordered-by names a decision", err=True
        )


def purge(
    before: Before,
    reason: Why,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the destruction certificate here.", dir_okay=False)
    ] = None,
    chunk: Annotated[
        int, typer.Option("--chunk", min=1, max=10_000, help="Records one transaction reaches.")
    ] = 500,
    config: Config = Path("audit.toml"),
    certificate: Certificate = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Destroy the erasable detail and batch lines of old records, and print a signed destruction certificate.

    A date that reaches records younger than the legal minimum is refused. Killed in the middle, run it again with the
    same date: it goes on, and the certificate counts all of it. A second run destroys nothing more.
    """
    from audit.keys import load_log_key
    from audit.retention.certificate import make_certificate
    from audit.retention.purge import ACTION, newest_purge
    from audit.retention.purge import purge as destroy

    end = _moment(before)
    with keeper(config, certificate, key) as own, Bar("destroying", total=None) as bar:
        position = destroy(
            own.ledger,
            end,
            reason=stated(reason),
            actor=own.actor,
            rule=own.rule,
            at_once=chunk,
            progress=lambda done: bar.reach(done, done),
        )
        emptied = own.empty()
        with own.ledger.read() as connection:
            newest = newest_purge(connection)
            known = newest[0] if newest is not None and newest[1].action == ACTION else None
            note = b""
            if (found := position if position is not None else known) is not None:
                note = make_certificate(connection, found, load_log_key(own.config.ledger.log_key))
    if out is not None and note:
        out.write_bytes(note)
    if position is None:
        typer.echo(
            "nothing was left to destroy; the newest certificate follows" if note else "nothing to destroy",
            err=True,
        )
    if not emptied:
        typer.echo(
            "the write-ahead log still holds old pages: a reader needs it; run it again later", err=True
        )
    if as_json:
        facts = {
            "destroyed": position is not None,
            "certificate": note.decode(),
            "left_in_files": not emptied,
        }
        print_json({**facts, "record": None if found is None else f"records/{found}"})
    elif out is None:
        typer.echo(note.decode(), nl=False)


def check_certificate(
    file: Annotated[Path, typer.Argument(help="A destruction certificate.", dir_okay=False)],
    vkey: Annotated[Path, typer.Option("--vkey", help="The log's public key (a C2SP vkey).", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Check a destruction certificate with the log's public key, offline."""
    from audit.keys import load_verifier_key
    from audit.retention.certificate import open_certificate

    with in_words():
        found = open_certificate(file.read_bytes(), load_verifier_key(vkey))
    _print({"verified": True, **found}, as_json=as_json)


def archive(
    ledger: Annotated[
        str, typer.Argument(help="The database file, or sqlite:/// and its path; a copy will do.")
    ],
    before: Before,
    out: Annotated[
        Path, typer.Option("--out", help="The package: a folder, made when missing.", file_okay=False)
    ],
    detail: Annotated[
        bool, typer.Option("--detail/--no-detail", help="Write what can be erased too, beside the log.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write old records as an archive package: tiles, entries and checkpoint that verify by themselves, and detail.

    The ledger keeps its leaves. Make the package before a purge, and remember it when you erase somebody.
    """
    from audit.ledger.offline import open_offline
    from audit.retention.archive import archive as write

    with in_words(), open_offline(ledger) as connection, Bar("archiving", total=None) as bar:
        done = write(connection, out, _moment(before), detail=detail, progress=bar.reach)
    _print(
        {"log": done.log, "records": done.records, "details": done.details, "line_parts": done.line_parts},
        as_json=as_json,
    )


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("give a date or an RFC 3339 time", param_hint="--before") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    print_json(facts) if as_json else print_facts(facts)
