"""Showing a demonstration to people, and to programs."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isthmus.demo.actions import ALLOW, Ask, Expected, Propose, Step
from isthmus.demo.outcome import Outcome, Played
from isthmus.demo.run import Evidence
from isthmus.demo.scenario import Scenario

_MAX_WORDS = 160


def as_expected(played: Sequence[Played]) -> bool:
    """Whether everything came as the story expects."""
    return not any(each.differences for each in played)


def document(scenario: Scenario, played: Sequence[Played], evidence: Evidence) -> dict[str, Any]:
    """The demonstration as one JSON document."""
    return {
        "exchanges": [
            {
                "name": each.step.name,
                "expected": _expected(each.step).decision,
                "decision": each.outcome.decision,
                "reasons": sorted(each.outcome.reasons),
            }
            for each in played
            if each.decides
        ],
        "as_expected": as_expected(played),
        "records": evidence.records,
        "verified": evidence.verified,
        "differences": [f"{each.step.name}: {what}" for each in played for what in each.differences],
        "source": scenario.source,
        "who_looked": list(evidence.who_looked),
        "exchange_ids": [each.outcome.exchange for each in played if each.outcome.exchange],
    }


def show(console: Console, scenario: Scenario, played: Sequence[Played], evidence: Evidence) -> None:
    """Prints the story as a table, who looked, and what the verifier found."""
    console.print(_table(scenario, played))
    for each in played:
        for what in each.differences:
            console.print(f"[bold red]not as expected[/] {escape(each.step.name)}: {escape(what)}")
    label = scenario.cast.subject.label
    console.print(f"\n[bold]Who looked 谁查询过[/]: {escape(label)}, {len(evidence.who_looked)} times")
    for line in evidence.who_looked:
        console.print(f"  {escape(line)}", highlight=False)
    explained = sum(each.outcome.explained is not None for each in played)
    decisions = [each for each in played if each.decides]
    right = sum(not each.differences for each in decisions)
    console.print(
        f"\n{right} of {len(decisions)} as expected 符合预期; Explain foretold {explained} of them, decision and reasons"
    )
    if evidence.verified:
        console.print(f"[green]The log verifies offline[/] 日志离线验证通过: {evidence.records} records")
    else:
        console.print(f"[bold red]The log does not verify[/]: {escape(evidence.problem)}")


def _table(scenario: Scenario, played: Sequence[Played]) -> Table:
    table = Table(title=escape(scenario.title), show_lines=False, pad_edge=False)
    for name, options in (
        ("what 情形", {"ratio": 3}),
        ("who asks whom 谁向谁", {"ratio": 3}),
        ("expected", {"no_wrap": True}),
        ("decision", {"no_wrap": True}),
        ("why 理由", {"ratio": 5}),
    ):
        table.add_column(name, **options)
    for each in played:
        if not each.decides:
            table.add_row(
                *(Text(text, style="dim") for text in (f"· {each.step.name}", "", "", "", each.outcome.words))
            )
            continue
        expected, outcome = _expected(each.step), each.outcome
        colour = "red" if each.differences else "green" if outcome.decision == ALLOW else "yellow"
        table.add_row(
            escape(each.step.name),
            escape(_parties(scenario, each.step)),
            expected.decision,
            Text(outcome.decision, style=colour),
            escape(why(outcome)),
        )
    return table


def why(outcome: Outcome) -> str:
    """The reason of an outcome in a few words."""
    if outcome.decision == ALLOW:
        return _answer(outcome)
    codes = ", ".join(sorted(outcome.reasons))
    words = outcome.words if len(outcome.words) <= _MAX_WORDS else outcome.words[: _MAX_WORDS - 1] + "…"
    return f"{codes}: {words}" if words else codes


def _answer(outcome: Outcome) -> str:
    if outcome.verdict:
        return f"{outcome.verdict}; no data left the provider"
    if outcome.each:
        allowed = sum(each == ALLOW for each in outcome.each)
        refused = ", ".join(sorted({each for each in outcome.each if each != ALLOW}))
        return f"{allowed} of {len(outcome.each)} answered" + (f"; the others: {refused}" if refused else "")
    if outcome.known is False:
        return "the subject is not known there; that is the answer"
    rows = len(outcome.rows)
    return f"{rows} row{'' if rows == 1 else 's'} released"


def _parties(scenario: Scenario, step: Step) -> str:
    action = step.action
    if isinstance(action, Propose):
        return f"{action.contract.consumer} → {action.contract.provider}"
    assert isinstance(action, Ask)
    asker = (
        action.who.removeprefix("/department/")
        .replace("/system/", "/")
        .replace("/node/", "/node ")
        .strip("/")
    )
    stranger = " (another authority)" if action.foreign else ""
    return f"{asker}{stranger} → {_provider(scenario, action.contract)}"


def _provider(scenario: Scenario, contract: str) -> str:
    """The provider of a contract or of a variant of it; the main one's for a contract that does not exist."""
    known = sorted(scenario.contracts, key=lambda each: len(each.id), reverse=True)
    return next(
        (each.provider for each in known if contract.startswith(each.id)), scenario.cast.main.provider
    )


def _expected(step: Step) -> Expected:
    assert step.expected is not None
    return step.expected
