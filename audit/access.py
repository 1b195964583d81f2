"""What of the trail a caller may see. Who may call which method is in `isthmus.access`."""

from audit.search import Condition, of_department
from isthmus.identity import Identity
from isthmus.names import DepartmentName


def visible_to(identity: Identity) -> list[Condition]:
    """What a record must fulfil to be shown: nothing for an auditor and a portal (which may only ask about one
    person), a part of its own department for anybody of a department.
    """
    if identity.department is None:
        return []
    return [of_department(str(DepartmentName(identity.department)))]
