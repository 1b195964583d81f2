"""When records were appended: one time a transaction, and never one before that of the transaction before.

Searches by time rely on it, and so does whoever reads from a position when something happened.
"""


def fault_of(before: int | None, at_ms: int, *, begins: bool) -> str:
    """What is wrong with the time of a record; nothing if all is well.

    Args:
        before: the time of the record before, ms since 1970; None where there is none.
        at_ms: the record's own.
        begins: whether a transaction begins with it.
    """
    if before is None or at_ms == before or (begins and at_ms > before):
        return ""
    if begins:
        return "its leaf says that it was appended before the record that precedes it"
    return "its leaf says another time than that of the transaction that it belongs to"
