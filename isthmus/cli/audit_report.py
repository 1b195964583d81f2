"""`isthmus audit report`: who looked at a person, what a contract was used for, whose data a department used, what is
worth a look. Every report is recorded before it is shown.
"""

from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.audit_report_page import page_of, print_page, write_page
from isthmus.cli.connection import connect
from isthmus.cli.inputs import subject as read_subject
from isthmus.cli.local_time import Zone, moment, zone_of
from isthmus.cli.output import Json, Limit, clean, document, print_json, print_table
from isthmus.v1.audit_service_pb2 import AnomalyKind, DepartmentUse

PATIENCE_S: Final = 300.0
"""How long a report over a long log may take, where nobody says otherwise."""

app = typer.Typer(
    name="report",
    help="Reports: on a person, a contract, a department, and what is worth a look. Each is recorded itself.",
    no_args_is_help=True,
)

Why = Annotated[str, typer.Option("--reason", help="Why you report (查询事由); it is recorded.")]
Since = Annotated[
    str | None, typer.Option("--since", help="From this day or time on: 2026-11-01, or RFC 3339.")
]
Until = Annotated[
    str | None, typer.Option("--until", help="Until before this day or time; now unless given.")
]


class Kind(StrEnum):
    """What is worth a look."""

    VOLUME = "volume"
    DENIAL_BURST = "denial-burst"
    OFF_HOURS = "off-hours"
    MANY_SUBJECTS = "many-subjects"
    EMERGENCY_UNREVIEWED = "emergency-unreviewed"


@app.command("subject")
def subject(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(help="SCHEME:ID, or SCHEME:- to read the id from standard input.")
    ],
    reason: Why,
    limit: Limit = 1000,
    zone: Zone = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page here that can be printed and handed over.", dir_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report who looked at one person, or tried to, oldest first, in words for that person."""
    local = zone_of(zone)
    with connect(context, audit=True) as client:
        found = client.audit.accesses(read_subject(subject), reason=reason, page_size=min(limit, 1000))
        accesses = list(islice(found, limit + 1))
    truncated = len(accesses) > limit
    accesses = accesses[:limit]
    made = page_of(accesses, zone=local, name=zone, made=datetime.now(UTC), truncated=truncated)
    if page is not None:
        write_page(made, page)
    if as_json:
        print_json({"accesses": [document(each) for each in accesses], "truncated": truncated})
    elif page is None:
        print_page(made)
    else:
        typer.echo(f"{len(accesses)} entries in {page}", err=True)


@app.command("contract")
def contract(
    context: typer.Context,
    contract: Annotated[
        str, typer.Argument(help="contracts/CONTRACT, or one version: contracts/CONTRACT@2.")
    ],
    reason: Why,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """Report everything that was done under a contract, oldest first: how it came about, and each exchange."""
    deeds: list[Any] = []
    counts: list[Any] = []
    truncated = False
    with connect(context, audit=True, patience=PATIENCE_S) as client:
        for part in client.audit.contract_report(contract, reason=reason, page_size=min(limit, 1000)):
            counts += part.counts
            deeds += part.deeds
            if len(deeds) >= limit:
                truncated = len(deeds) > limit or bool(part.next_page_token)
                break
    deeds = deeds[:limit]
    if as_json:
        members = {"counts": [document(each) for each in counts], "deeds": [document(each) for each in deeds]}
        print_json({**members, "truncated": truncated})
        return
    if counts:
        print_table(
            ("DECISION", "PURPOSE", "MONTH", "EXCHANGES"),
            ((*each.values, str(each.count)) for each in counts),
        )
        typer.echo("")
    print_table(
        ("RECORD", "WHAT HAPPENED"), ((f"records/{each.record.index}", each.summary) for each in deeds)
    )
    if truncated:
        typer.echo("there is more: --limit brings it", err=True)


@app.command("department")
def department(
    context: typer.Context,
    department: Annotated[str, typer.Argument(help="departments/DEPARTMENT, the one that used data.")],
    reason: Why,
    since: Since = None,
    until: Until = None,
    zone: Zone = None,
    as_json: Json = False,
) -> None:
    """Report how a department used the data of the others, the most used first."""
    local = zone_of(zone)
    begin, end = moment(since, local, option="--since"), moment(until, local, option="--until")
    with connect(context, audit=True, patience=PATIENCE_S) as client:
        found = client.audit.department_use(department, reason=reason, since=begin, until=end)
    if as_json:
        print_json(document(found))
        return
    headers = ("PROVIDER", "DATASET", "CONTRACT", "PURPOSE", "ALLOWED", "DENIED", "FAILED", "ROWS", "PERSONS")
    print_table((*headers, "SYSTEMS", "FIRST", "LAST"), (_use(each, local) for each in found.uses))
    if found.truncated:
        typer.echo("there are more lines than fit; narrow the period", err=True)


@app.command("anomalies")
def anomalies(
    context: typer.Context,
    reason: Why,
    since: Since = None,
    until: Until = None,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", help="Only this kind; give it again for each. All unless given."),
    ] = None,
    zone: Zone = None,
    as_json: Json = False,
) -> None:
    """Report what is worth a look in a period (seven days unless given), the most unusual first.

    Each line ends in the filter that lists the records behind it: isthmus audit list FILTER.
    """
    local = zone_of(zone)
    begin, end = moment(since, local, option="--since"), moment(until, local, option="--until")
    with connect(context, audit=True, patience=PATIENCE_S) as client:
        kinds = [each.value for each in kind or ()]
        found = client.audit.anomalies(reason=reason, since=begin, until=end, kinds=kinds)
    if as_json:
        print_json(document(found))
        return
    rows = (
        (_kind(each.kind), _when(each.start_time, local), each.summary, str(each.record_count), each.filter)
        for each in found.anomalies
    )
    print_table(("KIND", "BEGAN", "WHAT WAS SEEN, AND WHAT WAS USUAL", "RECORDS", "FILTER"), rows)
    for note in found.notes:
        typer.echo(f"note: {clean(note)}", err=True)


def _use(use: DepartmentUse, zone: Any) -> tuple[str, ...]:
    names = (use.provider, use.dataset, use.contract, use.purpose)
    numbers = (use.allowed, use.denied, use.failed, use.row_count, use.subject_count)
    times = (_when(use.first_time, zone), _when(use.last_time, zone))
    return (*names, *map(str, numbers), ", ".join(use.systems), *times)


def _when(at: Any, zone: Any) -> str:
    return f"{at.ToDatetime(tzinfo=UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _kind(kind: AnomalyKind.ValueType) -> str:
    return AnomalyKind.Name(kind).removeprefix("ANOMALY_KIND_").lower().replace("_", "-")
