"""What contract terms may say, given the catalogue entry they are about. Pure; every violation is named."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from gateway.state.datasets import DatasetRow, FieldEntry
from isthmus.errors import FieldViolation, InvalidArgument, TermsInvalid
from isthmus.names import DatasetName, DepartmentName, SystemName
from isthmus.terms import instant, terms_json
from isthmus.transforms import allowed
from isthmus.v1.common_pb2 import Mode, Operator, Value
from isthmus.v1.contract_service_pb2 import ContractTerms

MAX_TERMS_BYTES: Final = 128 * 1024
"""How long the canonical terms may be, so that a statement over them fits into SignContractRequest."""

MOST_VIOLATIONS: Final = 50

# U+0000 ends a text in many a program that both departments may read the terms with, and none of these can be seen.
_CONTROLS: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")
_NO_CONTROLS: Final = "must hold no control characters"

# The alternative of Value that holds each field type.
_KIND_OF_TYPE: Final = {
    "BOOL": "bool_value",
    "INT64": "int64_value",
    "DOUBLE": "double_value",
    "DECIMAL": "decimal_value",
    "STRING": "string_value",
    "BYTES": "bytes_value",
    "DATE": "date_value",
    "TIMESTAMP": "timestamp_value",
}


def require_agreeable(terms: ContractTerms, entry: DatasetRow | None, now: datetime) -> None:
    """Returns when the terms contradict neither themselves nor the catalogue.

    Args:
        terms: as they would be signed.
        entry: the catalogue entry of `terms.dataset`, or None when there is none.
        now: the present time.

    Raises:
        TermsInvalid: they do; at most 50 violations are named.
    """
    found = list(violations(terms, entry, now))[:MOST_VIOLATIONS]
    if found:
        raise TermsInvalid(found[0].field, found[0].description, others=found[1:])


def violations(terms: ContractTerms, entry: DatasetRow | None, now: datetime) -> Iterator[FieldViolation]:
    """Yields everything that stands in the way of the terms."""
    yield from _of_parties(terms)
    yield from _of_period(terms, now)
    yield from _of_texts(terms)
    yield from _of_quotas(terms)
    yield from _of_extras(terms)
    if len(terms_json(terms)) > MAX_TERMS_BYTES:
        yield FieldViolation("terms", f"take more than {MAX_TERMS_BYTES} bytes in canonical form")
    if entry is None:
        yield FieldViolation("terms.dataset", "is not in the catalogue; its provider has to publish it first")
    else:
        yield from _against_catalogue(terms, entry)


def _of_parties(terms: ContractTerms) -> Iterator[FieldViolation]:
    yield from _malformed("terms.provider", terms.provider, DepartmentName)
    yield from _malformed("terms.consumer", terms.consumer, DepartmentName)
    yield from _malformed("terms.dataset", terms.dataset, DatasetName)
    if terms.provider == terms.consumer:
        yield FieldViolation("terms.consumer", "must be another department than the provider")
    if not terms.dataset.startswith(f"{terms.provider}/datasets/"):
        yield FieldViolation("terms.dataset", "does not belong to the provider")
    yield from _of_systems("terms.systems", terms.systems, terms.consumer)


def _of_systems(path: str, systems: Sequence[str], consumer: str) -> Iterator[FieldViolation]:
    for place, system in enumerate(systems):
        if malformed := list(_malformed(f"{path}[{place}]", system, SystemName)):
            yield from malformed
        elif not system.startswith(f"{consumer}/systems/"):
            yield FieldViolation(f"{path}[{place}]", "is not a system of the consumer")
    yield from _repeated(path, systems)


def _of_period(terms: ContractTerms, now: datetime) -> Iterator[FieldViolation]:
    begins, ends = instant(terms.period.not_before), instant(terms.period.not_after)
    if ends <= begins:
        yield FieldViolation("terms.period.not_after", "must be later than not_before")
    elif ends <= now:
        yield FieldViolation("terms.period.not_after", "is over already; the period must end in the future")


def _of_texts(terms: ContractTerms) -> Iterator[FieldViolation]:
    if _CONTROLS.search(terms.legal_citation):
        yield FieldViolation("terms.legal_citation", _NO_CONTROLS)
    for place, purpose in enumerate(terms.purposes):
        if _CONTROLS.search(purpose):
            yield FieldViolation(f"terms.purposes[{place}]", _NO_CONTROLS)
        # A query must repeat the purpose exactly; invisible differences would make it impossible to use.
        if purpose != purpose.strip() or not purpose:
            yield FieldViolation(
                f"terms.purposes[{place}]", "must be text without spaces at its beginning or end"
            )
    yield from _repeated("terms.purposes", terms.purposes)


def _of_quotas(terms: ContractTerms) -> Iterator[FieldViolation]:
    seen = set[tuple[int, int]]()
    for place, quota in enumerate(terms.quotas):
        path = f"terms.quotas[{place}]"
        if not quota.calls and not quota.rows:
            yield FieldViolation(path, "limits nothing; state calls or rows, or leave it out")
        if (quota.window, quota.scope) in seen:
            yield FieldViolation(
                path, "repeats the window and scope of an earlier quota; state both limits there"
            )
        seen.add((quota.window, quota.scope))


def _of_extras(terms: ContractTerms) -> Iterator[FieldViolation]:
    onward, glass = terms.onward_sharing, terms.break_glass
    for place, recipient in enumerate(onward.recipients):
        yield from _malformed(f"terms.onward_sharing.recipients[{place}]", recipient, DepartmentName)
    if onward.allowed != bool(onward.recipients):
        yield FieldViolation(
            "terms.onward_sharing.recipients", "must be named when onward sharing is allowed, and only then"
        )
    if not glass.allowed and (glass.systems or glass.review_within_hours):
        yield FieldViolation("terms.break_glass", "must be empty unless emergency use is allowed")
    if glass.allowed and not (glass.systems and glass.review_within_hours):
        yield FieldViolation("terms.break_glass", "must name the systems that may, and review_within_hours")
    for place, system in enumerate(glass.systems):
        if system not in terms.systems:
            yield FieldViolation(f"terms.break_glass.systems[{place}]", "is not among terms.systems")


def _against_catalogue(terms: ContractTerms, entry: DatasetRow) -> Iterator[FieldViolation]:
    if entry.retired:
        yield FieldViolation("terms.dataset", "was retired from the catalogue")
    if entry.sharing_class == "REFUSED":
        basis = entry.entry["legal_citation"]
        yield FieldViolation("terms.dataset", f"is never shared (不予共享), on the basis of: {basis}")
    yield from _of_fields(terms, entry)
    for place, mode in enumerate(terms.modes):
        name = Mode.Name(mode).removeprefix("MODE_")
        if name not in entry.modes:
            offered = ", ".join(sorted(entry.modes))
            yield FieldViolation(
                f"terms.modes[{place}]", f"{name} is not offered; the catalogue offers {offered}"
            )
    for place, purpose in enumerate(terms.purposes):
        if entry.purposes and purpose not in entry.purposes:
            yield FieldViolation(
                f"terms.purposes[{place}]",
                f"is not one that the catalogue allows: {'; '.join(sorted(entry.purposes))}",
            )


def _of_fields(terms: ContractTerms, entry: DatasetRow) -> Iterator[FieldViolation]:
    for place, grant in enumerate(terms.fields):
        path, field = f"terms.fields[{place}]", entry.fields.get(grant.name)
        if field is None:
            yield FieldViolation(f"{path}.name", f"{entry.name} has no field of this name")
        else:
            yield from _of_transform(f"{path}.transform", grant.transform, field)
    yield from _repeated("terms.fields", [grant.name for grant in terms.fields])
    for place, filter_ in enumerate(terms.row_filters):
        path, field = f"terms.row_filters[{place}]", entry.fields.get(filter_.field)
        if field is None:
            yield FieldViolation(f"{path}.field", f"{entry.name} has no field of this name")
            continue
        if filter_.operator != Operator.OPERATOR_IN and len(filter_.values) != 1:
            yield FieldViolation(f"{path}.values", "must be exactly one, except for IN")
        yield from _of_values(path, filter_.values, field)


def _of_transform(path: str, asked: str, field: FieldEntry) -> Iterator[FieldViolation]:
    try:
        enough = allowed(asked, field.transforms)
    except ValueError as error:
        yield FieldViolation(path, str(error))
        return
    if not enough:
        offered = " or ".join(field.transforms)
        yield FieldViolation(
            path, f"{asked} reveals more than the provider offers for {field.name}: {offered} at the mildest"
        )


def _of_values(path: str, values: Iterable[Value], field: FieldEntry) -> Iterator[FieldViolation]:
    for index, value in enumerate(values):
        if value.WhichOneof("kind") != _KIND_OF_TYPE[field.type]:
            yield FieldViolation(
                f"{path}.values[{index}]", f"must be of the field's type, {field.type}, and not NULL"
            )


def _repeated(path: str, texts: Sequence[str]) -> Iterator[FieldViolation]:
    seen = set[str]()
    for place, text in enumerate(texts):
        if text in seen:
            yield FieldViolation(f"{path}[{place}]", "is there already")
        seen.add(text)


def _malformed(
    path: str, text: str, kind: type[DepartmentName | DatasetName | SystemName]
) -> Iterator[FieldViolation]:
    try:
        kind.parse(text, field=path)
    except InvalidArgument as error:
        yield from error.violations
