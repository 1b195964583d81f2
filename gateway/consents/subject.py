"""From the person a portal names to the keyed token that stands for them. Identifiers go no further than here."""

import hmac
from collections.abc import Iterable

import sqlalchemy as sa

from gateway.state.datasets import DatasetRow, get_dataset, normalisers_of_scheme
from isthmus.errors import InvalidArgument, PermissionDenied
from isthmus.reasons import Reason
from isthmus.subjects import SubjectTokens, normalise, subject_commitment
from isthmus.v1.common_pb2 import Subject


def canonical_subject(conn: sa.Connection, dataset: str, subject: Subject) -> str:
    """Returns the identifier in the canonical form of the dataset it is about.

    Raises:
        PermissionDenied: DATASET_UNAVAILABLE, the dataset is not offered now; or SCHEME_NOT_ALLOWED.
        InvalidArgument: it holds no identifier.
    """
    entry = get_dataset(conn, dataset)
    if entry is None or entry.retired:
        raise PermissionDenied(
            Reason.DATASET_UNAVAILABLE,
            f"{dataset} is not in the catalogue now, so nobody can consent to its use",
        )
    _require_scheme(entry, subject.scheme)
    return normalise(subject.id, entry.subject_normalisers)


def _require_scheme(entry: DatasetRow, scheme: str) -> None:
    if scheme != entry.subject_scheme:
        raise InvalidArgument(
            "subject.scheme",
            f"must be {entry.subject_scheme}, by which {entry.name} knows its subjects",
            reason=Reason.SCHEME_NOT_ALLOWED,
        )


def opens(commitment: str, nonce: bytes, subject: Subject, canonical: str) -> bool:
    """Whether the commitment in a statement is to this subject, as the portal wrote it or in canonical form.

    Raises:
        InvalidArgument: the nonce is not 32 bytes.
    """
    # Both spellings name the same person; a portal need not know a dataset's normalisers.
    candidates = [subject_commitment(nonce, subject.scheme, each) for each in (subject.id, canonical)]
    given = commitment.encode()
    return any(hmac.compare_digest(given, each.encode()) for each in candidates)


def tokens_of(conn: sa.Connection, subject: Subject, tokens: SubjectTokens) -> tuple[str, ...]:
    """Returns every token that may stand for a person: of each key epoch, and of each canonical form that some
    dataset over the scheme gives the identifier. Never empty.

    Raises:
        InvalidArgument: the subject holds no identifier.
    """
    chains: Iterable[tuple[str, ...]] = normalisers_of_scheme(conn, subject.scheme) or {()}
    forms = {normalise(subject.id, chain) for chain in sorted(chains)}
    return tuple(token for form in sorted(forms) for token in tokens.all_tokens(subject.scheme, form))
