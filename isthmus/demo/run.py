"""The demonstration from beginning to end: set the stage, play, ask who looked, verify the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.keys import load_verifier_key
from audit.verifier.damage import Damaged
from audit.verifier.ledger import verify_ledger
from isthmus.client import Client
from isthmus.demo.actions import Step
from isthmus.demo.desk import Desk
from isthmus.demo.errors import DemoError
from isthmus.demo.outcome import Played
from isthmus.demo.parties import AUDIT, AUDITOR, OPERATOR, PORTAL
from isthmus.demo.past import leave_unanswered
from isthmus.demo.player import Player
from isthmus.demo.processes import Children
from isthmus.demo.scenario import Scenario
from isthmus.demo.stage import Report, Stage, set_stage, start
from isthmus.demo.story import own_contracts, unanswered
from isthmus.errors import IsthmusError

_REASON = "演示:谁查询过我的信息 demonstration: who looked at my data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the audit trail says afterwards.

    Args:
        who_looked: every access to the story's subject, in words, oldest first.
        records: how many records the log holds.
        verified: whether the offline verifier found nothing wrong.
        problem: what it found otherwise.
    """

    who_looked: tuple[str, ...]
    records: int
    verified: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A stage with its servers up, and everybody at the desk."""

    scenario: Scenario
    stage: Stage
    desk: Desk
    children: Children


@contextmanager
def running(scenario: Scenario, folder: Path, *, report: Report) -> Iterator[Running]:
    """Sets the stage in `folder`, starts every server, and prepares what the story begins with.

    However it is left, every process has ended afterwards.

    Raises:
        DemoError: something did not work; the message says what.
    """
    stage = set_stage(scenario, folder)
    leave_unanswered(stage, unanswered(scenario.cast))
    logs = folder / "logs"
    logs.mkdir()
    with Children(logs, stage.parties.credentials(OPERATOR)) as children:
        start(stage, scenario.departments, children, report=report)
        with Desk(stage.parties, gateway=stage.gateway, audit=stage.audit) as desk:
            world = Running(scenario, stage, desk, children)
            _prepare(world, report)
            yield world


def _prepare(world: Running, report: Report) -> None:
    desk, scenario = world.desk, world.scenario
    report("publishing, agreeing and consenting")
    try:
        for department, dataset in world.stage.datasets():
            desk.publish(department, dataset)
        for contract in (*scenario.contracts, *own_contracts(scenario.cast)):
            desk.agree(contract)
        for consent in scenario.consents:
            desk.consent(consent)
    except IsthmusError as error:
        world.children.require_alive()
        raise DemoError(f"the story cannot begin: {error.message}") from error


def play(world: Running, steps: Sequence[Step], *, report: Report) -> list[Played]:
    """Plays every step and returns what came of each.

    Args:
        world: the running stage.
        steps: the story.
        report: is told the name of each step before it is played.

    Raises:
        DemoError: a change was refused, or a server has ended.
    """
    player = Player(world.desk, world.stage.gateway, deny=world.stage.deny)
    played = []
    for step in steps:
        report(step.name)
        one = player.play(step)
        world.children.require_alive()
        played.append(one)
    return played


def evidence(world: Running, *, report: Report) -> Evidence:
    """Asks the audit service who looked at the story's subject, then verifies the log without it."""
    subject = world.scenario.cast.subject
    report("asking who looked")
    # A person asks through the portal; nobody but an auditor asks about an organisation.
    who = PORTAL if world.scenario.cast.people else AUDITOR
    client: Client = world.desk.client(who, server=AUDIT)
    try:
        looked = client.audit.accesses((subject.scheme, subject.id), reason=_REASON)
        words = tuple(each.summary for each in looked)
    except IsthmusError as error:
        raise DemoError(f"the audit service does not say who looked: {error.message}") from error
    report("verifying the log offline")
    shared = world.stage.shared
    try:
        verified = verify_ledger(str(shared.ledger), load_verifier_key(shared.verifier))
    except Damaged as error:
        return Evidence(who_looked=words, records=0, verified=False, problem=str(error))
    return Evidence(who_looked=words, records=verified.size, verified=True)
