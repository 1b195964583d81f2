"""One source department for each data element (一数一源; decree 809 article 19: 数源部门).

A dataset may be the source of an element that has one already only if it says why; the reason stands in the entry.
"""

import json

import sqlalchemy as sa

from gateway.clocks.limits import RuleKind
from gateway.clocks.pack import Pack
from gateway.state.sources import SourceRow, sources_of
from isthmus.errors import IsthmusError, Precondition
from isthmus.reasons import Reason


def claims_of(name: str, document: str) -> list[SourceRow]:
    """Returns the elements that an entry claims to be the source of.

    Args:
        name: of the dataset.
        document: the entry's canonical JSON.
    """
    return [
        SourceRow(
            element=field["element"],
            dataset=name,
            field=field["name"],
            second_reason=field.get("second_source_reason", ""),
        )
        for field in json.loads(document)["fields"]
        if field.get("source")
    ]


def require_sole_source(conn: sa.Connection, claims: list[SourceRow], pack: Pack) -> None:
    """Returns when every claim is either to an element without another source, or says why there is a second.

    A dataset that is the first source already stays it, however many second ones there are.

    Args:
        conn: the connection of the transaction that would write the claims.
        claims: of one dataset.
        pack: the rule pack in force, for its article.

    Raises:
        IsthmusError: ELEMENT_HAS_SOURCE; names the element and its present source.
    """
    present: dict[str, list[SourceRow]] = {}
    for row in sources_of(conn, {each.element for each in claims}):
        present.setdefault(row.element, []).append(row)
    for claim in claims:
        found = present.get(claim.element, [])
        others = [each for each in found if each.dataset != claim.dataset]
        first_already = any(each.dataset == claim.dataset and not each.second_reason for each in found)
        if others and not claim.second_reason and not first_already:
            raise _refused(claim, others[0], pack)


def _refused(claim: SourceRow, present: SourceRow, pack: Pack) -> IsthmusError:
    rule = pack.rules.get(RuleKind.ONE_SOURCE)
    source = f" ({rule.article})" if rule and rule.required else ""
    words = (
        f"{present.dataset}, field {present.field}, is the source of the data element {claim.element} already{source}; "
        f"take the element from there, or state in second_source_reason of the field {claim.field} why a second source "
        "is needed"
    )
    error = IsthmusError(
        Reason.ELEMENT_HAS_SOURCE, words, metadata={"element": claim.element, "source": present.dataset}
    )
    error.preconditions = (Precondition("ELEMENT_SOURCE", claim.element, words),)
    return error
