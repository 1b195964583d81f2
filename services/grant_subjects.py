"""Reading whom an item of a grant is about: one subject, up to 10,000, or with a stream nobody in particular."""

import re
from dataclasses import dataclass
from typing import Any, Final

from isthmus.v1.common_pb2 import MODE_BATCH, MODE_STREAM, Mode
from services.members import GrantFormError, Members

MAX_SUBJECTS: Final = 10_000

_MAX_ID: Final = 256
_SCHEME: Final = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_TOKEN: Final = re.compile(r"[0-9]{1,9}\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class GrantedSubjects:
    """The subjects of an item.

    Args:
        scheme: the identifier scheme of all of them.
        ids: canonical identifiers, no two alike.
        tokens: the token that stands for each of them in records, in the same order.
    """

    scheme: str = ""
    ids: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


def read_subjects(members: Members, mode: Mode.ValueType) -> GrantedSubjects:
    """The subjects of an item.

    Args:
        members: the item; `subjects` is a list of one object for QUERY and VERIFY, an object with parallel lists
            for BATCH, and an empty list for STREAM.

    Raises:
        GrantFormError: names the member that is missing, malformed or out of bounds.
    """
    if mode == MODE_BATCH:
        return _many(members)
    if mode == MODE_STREAM:
        members.list("subjects", 0, 0)
        return GrantedSubjects()
    (content,) = members.list("subjects", 1, 1)
    each = Members(content, f"{members.at('subjects')}[0]", allowed={"scheme", "id", "token"})
    scheme = each.text("scheme", 64, _SCHEME)
    return GrantedSubjects(scheme, (each.text("id", _MAX_ID),), (each.text("token", 64, _TOKEN),))


def _many(members: Members) -> GrantedSubjects:
    content = members.get("subjects")
    many = Members(content, members.at("subjects"), allowed={"scheme", "ids", "tokens"})
    ids = _texts(many, "ids", _MAX_ID)
    tokens = _texts(many, "tokens", 64)
    for position, token in enumerate(tokens):
        if not _TOKEN.fullmatch(token):
            raise GrantFormError(f"{many.at('tokens')}[{position}] has the wrong form")
    if len(tokens) != len(ids):
        raise GrantFormError(f"{many.at('tokens')} must hold one token for each of the ids")
    # A subject asked twice would be answered, counted and recorded twice.
    if len(set(ids)) != len(ids):
        raise GrantFormError(f"{many.at('ids')} names a subject twice")
    return GrantedSubjects(many.text("scheme", 64, _SCHEME), ids, tokens)


def _texts(members: Members, name: str, longest: int) -> tuple[str, ...]:
    texts: list[Any] = members.list(name, 1, MAX_SUBJECTS)
    for position, text in enumerate(texts):
        if type(text) is not str or not 1 <= len(text) <= longest:
            place = f"{members.at(name)}[{position}]"
            raise GrantFormError(f"{place} must be text of 1 to {longest} characters")
    return tuple(texts)
