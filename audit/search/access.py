"""What of the trail a caller may see. Who may call which method is in `isthmus.access`."""

from audit.search.plan import Either, Except, Matching, Plan, exactly
from audit.search.query import Condition, about_nobody, of_department
from isthmus.identity import Identity
from isthmus.names import DepartmentName


def visible_to(identity: Identity) -> list[Condition]:
    """What a record must fulfil to be shown: nothing for an auditor and a portal (which may only ask about one
    person), a part of its own department for anybody of a department.

    A department sees what was exchanged, and not what a person said about their consent: those records carry the same
    token as the exchanges, and their positions and names stand in them, so that whatever was left of one would tell
    whom it is about. The exchanges themselves say which consent they rest on.
    """
    if identity.department is None:
        return []
    return [of_department(str(DepartmentName(identity.department))), about_nobody()]


def seen_by(identity: Identity) -> list[Plan]:
    """The same, of the columns of a run."""
    if identity.department is None:
        return []
    own = (exactly(str(DepartmentName(identity.department))),)
    part = Either((Matching("consumer", own), Matching("provider", own)))
    return [part, Except(Matching("of_person", (exactly("true"),)))]
