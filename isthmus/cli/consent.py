"""`isthmus consent`: what a portal or a service counter records for a person."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.cli.connection import connect
from isthmus.cli.inputs import subject
from isthmus.cli.main import EXIT_CODES
from isthmus.cli.output import Json, Limit, document, print_facts, print_json, print_table
from isthmus.client import Client, ConsentReceipt, ConsentTerms
from isthmus.terms import instant, parse_rfc3339, rfc3339
from isthmus.v1.common_pb2 import Mode
from isthmus.v1.consent_service_pb2 import Consent, ConsentState, GrantorKind

app = typer.Typer(
    name="consent",
    help="Consents: request, grant, refuse, withdraw, pause, resume, revoke, invalidate, show, uses, list.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
)

Name = Annotated[str, typer.Argument(help="consents/UUID.")]
Under = Annotated[str, typer.Argument(help="The contract: contracts/ID@VERSION, or contracts/ID.")]
About = Annotated[
    str, typer.Option("--subject", help="SCHEME:ID; SCHEME:- reads the identifier from standard input.")
]
Why = Annotated[str, typer.Option("--reason", help="The reason, if one was given; no personal data.")]


@app.command()
def request(
    context: typer.Context,
    contract: Annotated[str, typer.Argument(help="contracts/ID@VERSION.")],
    about: About,
    answer_by: Annotated[str, typer.Option("--answer-by", help="RFC 3339.")] = "",
    parties: Annotated[
        list[str] | None,
        typer.Option("--party", help="One who must consent, such as 母亲; no personal data. Repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record that a person was asked, and who must consent when one grant is not enough."""
    person, by = subject(about), _time(answer_by, "answer_by")
    _run(
        context,
        lambda client: client.consents.request(contract, person, answer_by=by, parties=parties or ()),
        as_json=as_json,
    )


@app.command()
def grant(
    context: typer.Context,
    contract: Under,
    about: About,
    notice: Annotated[
        Path, typer.Option("--notice", help="The text that the person was shown.", dir_okay=False)
    ],
    notice_uri: Annotated[str, typer.Option("--notice-uri", help="Where that text is kept.")] = "",
    language: Annotated[str, typer.Option("--language", help="Its language, BCP 47.")] = "zh-CN",
    purposes: Annotated[
        list[str] | None, typer.Option("--purpose", help="All of the contract's unless given. Repeatable.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="All of the contract's unless given. Repeatable.")
    ] = None,
    modes: Annotated[
        list[str] | None, typer.Option("--mode", help="All of the contract's unless given. Repeatable.")
    ] = None,
    not_before: Annotated[str, typer.Option("--from", help="RFC 3339; now unless given.")] = "",
    not_after: Annotated[
        str, typer.Option("--until", help="RFC 3339; the contract's end unless given.")
    ] = "",
    grantor: Annotated[str, typer.Option("--grantor", help="SELF, GUARDIAN or DELEGATE.")] = "SELF",
    collection: Annotated[str, typer.Option("--collection", help="ONLINE, COUNTER or PAPER.")] = "ONLINE",
    evidence: Annotated[
        str, typer.Option("--evidence", help="Where the evidence is kept, for COUNTER and PAPER.")
    ] = "",
    party: Annotated[
        str, typer.Option("--party", help="Which of the parties required by the request consents.")
    ] = "",
    max_uses: Annotated[
        int, typer.Option("--max-uses", help="At most so many exchanges; 0 for no limit.", min=0)
    ] = 0,
    of_age_at: Annotated[
        str, typer.Option("--of-age-at", help="RFC 3339: when a guardian's consent ends.")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="consents/UUID of the request that is answered.")] = "",
    as_json: Json = False,
) -> None:
    """Sign and record a person's consent."""
    person = subject(about)
    terms = ConsentTerms(
        notice={"uri": notice_uri, "sha256": _sha256(notice), "language": language},
        purposes=tuple(purposes or ()),
        fields=tuple(fields or ()),
        modes=tuple(modes or ()),
        not_before=_time(not_before, "from"),
        not_after=_time(not_after, "until"),
        grantor=grantor,
        collection=collection,
        evidence_reference=evidence,
        party=party,
        max_uses=max_uses,
        of_age_at=_time(of_age_at, "of_age_at"),
    )
    _run_with_receipt(
        context,
        lambda client: client.consents.grant(contract, person, terms, name=name),
        as_json=as_json,
    )


@app.command()
def refuse(context: typer.Context, name: Name, reason: Why = "", as_json: Json = False) -> None:
    """Record that the person refused."""
    _run(context, lambda client: client.consents.refuse(name, reason=reason), as_json=as_json)


@app.command()
def withdraw(context: typer.Context, name: Name, reason: Why = "", as_json: Json = False) -> None:
    """End a consent at the person's wish, for good. Once this returns, nothing more is released."""
    _run_with_receipt(context, lambda client: client.consents.withdraw(name, reason=reason), as_json=as_json)


@app.command()
def pause(context: typer.Context, name: Name, reason: Why = "", as_json: Json = False) -> None:
    """Stop use for a time, at the person's wish. Once this returns, nothing more is released."""
    _run(context, lambda client: client.consents.pause(name, reason=reason), as_json=as_json)


@app.command()
def resume(context: typer.Context, name: Name, reason: Why = "", as_json: Json = False) -> None:
    """Let use go on after a pause."""
    _run(context, lambda client: client.consents.resume(name, reason=reason), as_json=as_json)


@app.command()
def revoke(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, with the order it rests on.")],
    as_json: Json = False,
) -> None:
    """End a consent by order of an authority, for good."""
    _run(context, lambda client: client.consents.revoke(name, reason=reason), as_json=as_json)


@app.command()
def invalidate(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why it was never valid, with the evidence.")],
    as_json: Json = False,
) -> None:
    """End a consent that was never valid, for good."""
    _run(context, lambda client: client.consents.invalidate(name, reason=reason), as_json=as_json)


@app.command()
def uses(context: typer.Context, name: Name, limit: Limit = 1000, as_json: Json = False) -> None:
    """Show who used a consent, oldest first: for the person's own view."""
    with connect(context) as client:
        found = list(islice(client.consents.uses(name), limit))
    if as_json:
        print_json({"uses": [document(each) for each in found]})
        return
    rows = [
        (
            rfc3339(instant(each.at)),
            each.consumer,
            each.caller,
            each.purpose,
            ", ".join(field.name for field in each.fields),
            Mode.Name(each.mode).removeprefix("MODE_"),
            each.exchange,
        )
        for each in found
    ]
    print_table(("at", "consumer", "caller", "purpose", "fields", "mode", "exchange"), rows)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show one consent."""
    with connect(context) as client:
        consent = client.consents.get(name)
    if as_json:
        print_json(document(consent))
        return
    print_facts(
        {
            "name": consent.name,
            "state": _state(consent),
            "reason": consent.state_reason,
            "contract": consent.contract,
            "subject": consent.subject_token,
            "purposes": list(consent.purposes),
            "fields": list(consent.fields),
            "modes": ", ".join(Mode.Name(each).removeprefix("MODE_") for each in consent.modes),
            "period": _period(consent),
            "grantor": GrantorKind.Name(consent.grantor_kind).removeprefix("GRANTOR_KIND_"),
            "parties": _parties(consent),
            "until of age": _moment(consent.of_age_at) if consent.HasField("of_age_at") else "",
            "uses": _uses(consent),
            "evidence": consent.evidence_reference,
            "notice": consent.notice.uri or consent.notice.sha256,
            "position": consent.position,
        }
    )


@app.command("list")
def list_(
    context: typer.Context,
    about: Annotated[str, typer.Option("--subject", help="Only of this person, SCHEME:ID or SCHEME:-.")] = "",
    contract: Annotated[str, typer.Option("--contract", help="Only to contracts/ID.")] = "",
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List the consents of one person, or under one contract, oldest first."""
    person = subject(about) if about else None
    with connect(context) as client:
        found = list(islice(client.consents.list(subject=person, contract=contract), limit))
    if as_json:
        print_json({"consents": [document(each) for each in found]})
        return
    rows = [
        (
            each.name,
            _state(each),
            each.contract,
            ", ".join(each.purposes),
            _period(each),
            _uses(each),
        )
        for each in found
    ]
    print_table(("name", "state", "contract", "purposes", "period", "uses"), rows)


def _run(context: typer.Context, act: Callable[[Client], Consent], *, as_json: bool) -> None:
    with connect(context) as client:
        consent = act(client)
    if as_json:
        print_json(document(consent))
    else:
        _print_change(consent)


def _run_with_receipt(
    context: typer.Context, act: Callable[[Client], ConsentReceipt], *, as_json: bool
) -> None:
    with connect(context) as client:
        done = act(client)
    if as_json:
        print_json({"consent": document(done.consent), "receipt": done.receipt})
        return
    _print_change(done.consent)
    typer.echo(done.receipt)


def _print_change(consent: Consent) -> None:
    typer.echo(f"{consent.name} {_state(consent)}, position {consent.position}")


def _state(consent: Consent) -> str:
    return ConsentState.Name(consent.state).removeprefix("CONSENT_STATE_")


def _parties(consent: Consent) -> str:
    given = set(consent.consented_parties)
    return ", ".join(
        f"{each} ({'consented' if each in given else 'awaited'})" for each in consent.required_parties
    )


def _uses(consent: Consent) -> str:
    limit = f" of {consent.max_uses}" if consent.max_uses else ""
    last = f", last {_moment(consent.last_used_at)}" if consent.HasField("last_used_at") else ""
    return f"{consent.uses}{limit}{last}"


def _moment(at: Timestamp) -> str:
    return rfc3339(instant(at))


def _period(consent: Consent) -> str:
    if not consent.HasField("period"):
        return ""
    return f"{rfc3339(instant(consent.period.not_before))} to {rfc3339(instant(consent.period.not_after))}"


def _time(text: str, field: str) -> datetime | None:
    return parse_rfc3339(text, field=field) if text else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
