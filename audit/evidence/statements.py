"""The signed statements of a bundle against the records that name them."""

from collections.abc import Mapping
from typing import Any, Final

from audit.evidence.content import Content
from audit.evidence.manifest import statement_file, terms_file
from audit.record import LOGGED, AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.identity import Role
from isthmus.statement import StatementError, StatementKind, StatementVerifier, Verified

_KINDS: Final[Mapping[str, tuple[StatementKind, Role]]] = {
    "SignContract": (StatementKind.CONTRACT, Role.OFFICER),
    "GrantConsent": (StatementKind.CONSENT, Role.PORTAL),
}
_DIGEST: Final = "statement_digest"
_RECEIPTS: Final = "the provider's receipt, of which records hold the digest: the consumer has it"


def check_statements(content: Content, verifier: StatementVerifier) -> tuple[int, tuple[str, ...]]:
    """Return how many statements hold, and what is not in the bundle, only if each is the one that its record names.

    Args:
        content: the bundle.
        verifier: knows the authorities. Certificates are judged at the time of the record.

    Raises:
        Damaged: a statement is forged, of somebody else, or about something else; or belongs to no record.
    """
    named, missing, terms, stated = set[str](), list[str](), dict[str, Any](), dict[int, dict[str, Any]]()
    for index, record in content.proven.items():
        digest = record.change.get(_DIGEST)
        if record.action not in _KINDS or not isinstance(digest, str):
            continue
        name = statement_file(digest)
        if name not in content.files:
            missing.append(f"the statement of record {index} ({record.action} of {record.resource})")
            continue
        payload = _check(name, content.files[name], record, verifier).payload
        named.add(name)
        stated[index] = payload
        if record.action == "SignContract":
            terms[record.terms_digest] = payload["terms"]
            _check_terms(content, record.terms_digest, payload["terms"])
            named.add(terms_file(record.terms_digest))
    for name in content.files:
        if name.startswith(("statements/", "terms/")) and name not in named:
            raise Damaged(DamageKind.BUNDLE, name, "no record of the bundle names it")
    _check_releases(content, terms, stated)
    receipts = any(record.provider_receipt_digest for record in content.proven.values())
    return len(stated), (*missing, *([_RECEIPTS] if receipts else []))


def _check(name: str, data: bytes, record: AccessRecord, verifier: StatementVerifier) -> Verified:
    kind, role = _KINDS[record.action]
    try:
        found = verifier.verify(data.decode("ascii"), kind=kind, expect_role=role, at=record.at[LOGGED])
    except (StatementError, UnicodeDecodeError) as error:
        raise Damaged(DamageKind.STATEMENT, name, f"it is refused: {error}") from None
    facts = {
        "its digest": (found.digest, record.change[_DIGEST]),
        "its certificate": (found.thumbprint, record.change.get("statement_certificate")),
        "its signer": (found.identity.uri, record.caller),
        **_said(found, record),
    }
    for what, (stated, recorded) in facts.items():
        if stated != recorded:
            raise Damaged(DamageKind.STATEMENT, name, f"{what} is not what its record says")
    return found


def _said(found: Verified, record: AccessRecord) -> dict[str, tuple[object, object]]:
    """What a statement says, beside what its record says of it."""
    payload = found.payload
    if record.action == "SignContract":
        digest = sha256_hex(canonical_json(payload.get("terms")))
        department = f"departments/{found.identity.department}"
        return {
            "its contract": (payload.get("contract"), record.resource),
            "its department": (payload.get("department"), department),
            "the digest of its terms": (digest, record.terms_digest),
        }
    return {
        "its consent": (payload.get("consent"), record.resource),
        "its contract": (payload.get("contract"), record.contract),
        "its terms": (payload.get("terms_digest"), record.terms_digest),
    }


def _check_terms(content: Content, digest: str, terms: object) -> None:
    name = terms_file(digest)
    if content.files.get(name) != canonical_json(terms):
        raise Damaged(DamageKind.STATEMENT, name, "it is not the terms that were signed")


def _check_releases(
    content: Content, terms: Mapping[str, Any], stated: Mapping[int, Mapping[str, Any]]
) -> None:
    """Nothing was released beyond what the signed terms, and the signed consents, allow."""
    consents = {str(payload.get("consent")): payload for payload in stated.values()}
    for index, record in content.proven.items():
        if record.kind is not Kind.DECISION or record.decision != "ALLOW":
            continue
        where, released = f"record {index}", {each["name"] for each in record.fields}
        agreed = terms.get(record.terms_digest)
        if agreed is not None:
            _require_within(where, "the signed terms", record, released, _bounds(agreed))
        for consent in record.consents:
            given = consents.get(str(consent["name"]))
            if given is not None:
                _require_within(where, "the consent that was given", record, released, _bounds(given))


def _bounds(document: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    fields = {each["name"] if isinstance(each, Mapping) else each for each in document["fields"]}
    return set(document["purposes"]), fields, set(document["modes"])


def _require_within(
    where: str,
    what: str,
    record: AccessRecord,
    released: set[str],
    bounds: tuple[set[str], set[str], set[str]],
) -> None:
    purposes, fields, modes = bounds
    if record.purpose not in purposes or not released <= fields or record.mode not in modes:
        raise Damaged(DamageKind.RULE, where, f"it released more than {what} allow, or for another purpose")
