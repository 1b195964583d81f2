"""The tables of the control state. Portable between SQLite and PostgreSQL; instants are milliseconds UTC."""

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from gateway.consents.states import ConsentState
from gateway.contracts.states import ContractState

METADATA: Final = sa.MetaData()


def _name(length: int) -> sa.types.TypeEngine[str]:
    # Pages and ranges compare names byte by byte, as SQLite does; PostgreSQL would follow its locale.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _state_known(states: Iterable[str], name: str) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{state}'" for state in states)
    return sa.CheckConstraint(f"state IN ({allowed})", name=name)


datasets = sa.Table(
    "datasets",
    METADATA,
    sa.Column("name", _name(160), primary_key=True),
    sa.Column("department", _name(80), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("sharing_class", sa.String(16), nullable=False),
    sa.Column("subject_scheme", sa.String(64), nullable=False),
    sa.Column("retired", sa.Boolean, nullable=False),
    _instant("published_at"),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Index("datasets_by_department", "department", "retired"),
    sa.Index("datasets_by_scheme", "subject_scheme"),
)
"""The current revision of each catalogue entry; `entry` is canonical JSON."""

dataset_revisions = sa.Table(
    "dataset_revisions",
    METADATA,
    sa.Column("name", _name(160), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("publisher", sa.String(512), nullable=False),
    _instant("published_at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)
"""Every revision ever published, so that an auditor can see what the catalogue said at the time."""

element_sources = sa.Table(
    "element_sources",
    METADATA,
    sa.Column("element", _name(128), primary_key=True),
    sa.Column("dataset", _name(160), primary_key=True),
    sa.Column("field", sa.Text, nullable=False),
    sa.Column("second_reason", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Index("element_sources_by_dataset", "dataset"),
)
"""Which datasets are the source (数源) of a data element; `second_reason` is empty for the first of them."""

# One source department for each element: the database itself refuses a second that gives no reason.
sa.Index(
    "element_sources_one_first",
    element_sources.c.element,
    unique=True,
    sqlite_where=element_sources.c.second_reason == "",
    postgresql_where=element_sources.c.second_reason == "",
)

contracts = sa.Table(
    "contracts",
    METADATA,
    sa.Column("contract", _name(80), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("provider", _name(80), nullable=False),
    sa.Column("consumer", _name(80), nullable=False),
    sa.Column("dataset", _name(160), nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Column("terms_digest", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.Column("proposer", sa.String(80), nullable=False),
    sa.Column("submitter", sa.String(512), nullable=False),
    sa.Column("scenario", sa.Text, nullable=False),
    sa.Column("rule_pack", sa.String(80), nullable=False),
    sa.Column("sharing_class", sa.String(16), nullable=False),
    sa.Column("suspended_by", sa.String(80), nullable=True),
    _instant("suspended_at", nullable=True),
    _instant("rectify_by", nullable=True),
    _instant("resumed_at", nullable=True),
    sa.Column("supplement_request", sa.Text, nullable=False),
    _instant("supplement_requested_at", nullable=True),
    _instant("supplemented_at", nullable=True),
    sa.Column("extended_by", sa.Integer, nullable=False),
    _instant("answered_at", nullable=True),
    sa.Column("answer_workdays", sa.Integer, nullable=True),
    _instant("agreed_at", nullable=True),
    sa.Column("agreed_position", sa.BigInteger, nullable=True),
    _instant("superseded_at", nullable=True),
    _instant("not_before"),
    _instant("not_after"),
    _instant("created_at"),
    _instant("updated_at"),
    sa.Column("position", sa.BigInteger, nullable=False),
    _state_known((each for each in ContractState if each is not ContractState.DRAFT), "contract_state_known"),
    sa.Index("contracts_by_provider", "provider", "contract"),
    sa.Index("contracts_by_consumer", "consumer", "contract"),
    sa.Index("contracts_by_state", "state", "contract", "version"),
)
"""One row a version; `terms` is the exact canonical JSON that is signed and never changes.

Deadlines are not stored: they follow from the rule pack and the class that the case began under, and from the instants
here. `superseded_at` is when a later agreed version takes over, which may lie ahead."""

contract_signatures = sa.Table(
    "contract_signatures",
    METADATA,
    sa.Column("contract", _name(80), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("department", sa.String(80), primary_key=True),
    sa.Column("signer", sa.String(512), nullable=False),
    sa.Column("thumbprint", sa.String(64), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    _instant("signed_at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)

contract_events = sa.Table(
    "contract_events",
    METADATA,
    sa.Column("contract", _name(80), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("from_state", sa.String(16), nullable=False),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(512), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _instant("at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)

consents = sa.Table(
    "consents",
    METADATA,
    sa.Column("name", _name(64), primary_key=True),
    sa.Column("contract", _name(80), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("terms_digest", sa.String(64), nullable=False),
    sa.Column("subject_token", sa.String(64), nullable=False),
    sa.Column("current", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.Column("purposes", sa.Text, nullable=False),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("modes", sa.Text, nullable=False),
    _instant("not_before"),
    _instant("not_after"),
    _instant("answer_by", nullable=True),
    sa.Column("required_parties", sa.Text, nullable=False),
    sa.Column("consented_parties", sa.Text, nullable=False),
    sa.Column("max_uses", sa.BigInteger, nullable=False),
    _instant("of_age_at", nullable=True),
    sa.Column("grantor", sa.String(16), nullable=False),
    sa.Column("collection", sa.String(16), nullable=False),
    sa.Column("evidence_reference", sa.Text, nullable=False),
    sa.Column("notice", sa.Text, nullable=False),
    sa.Column("portal", sa.String(512), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("statement_digest", sa.String(64), nullable=False),
    _instant("created_at"),
    _instant("updated_at"),
    sa.Column("position", sa.BigInteger, nullable=False),
    _state_known((each for each in ConsentState if each is not ConsentState.NEW), "consent_state_known"),
    sa.Index("consents_by_subject", "subject_token", "contract"),
    sa.Index("consents_by_contract", "contract", "name"),
)
"""`current` marks the one row that speaks for a subject under a contract: the consent granted last."""

# The person's last word counts, whatever process wrote it: the database itself refuses a second.
sa.Index(
    "consents_one_current",
    consents.c.contract,
    consents.c.subject_token,
    unique=True,
    sqlite_where=consents.c.current,
    postgresql_where=consents.c.current,
)

consent_parties = sa.Table(
    "consent_parties",
    METADATA,
    sa.Column("consent", _name(64), primary_key=True),
    sa.Column("party", sa.String(64), primary_key=True),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    _instant("at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)
"""What each required party stated, where several must consent to one thing."""

consent_events = sa.Table(
    "consent_events",
    METADATA,
    sa.Column("consent", _name(64), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("from_state", sa.String(16), nullable=False),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(512), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _instant("at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)

denied_certificates = sa.Table(
    "denied_certificates",
    METADATA,
    sa.Column("thumbprint", sa.String(64), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(512), nullable=False),
    _instant("at"),
    sa.Column("position", sa.BigInteger, nullable=False),
)

quota_usage = sa.Table(
    "quota_usage",
    METADATA,
    sa.Column("contract", _name(96), primary_key=True),
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("scope_key", _name(160), primary_key=True),
    sa.Column("quota_window", sa.String(8), primary_key=True),
    sa.Column("window_start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
)
"""What a contract version (`contracts/x@1`) has used in a window; `scope_key` is a system name or a subject
token, and empty for the scope CONTRACT."""

emergency_uses = sa.Table(
    "emergency_uses",
    METADATA,
    sa.Column("exchange", _name(64), primary_key=True),
    sa.Column("contract", _name(80), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("provider", _name(80), nullable=False),
    sa.Column("consumer", _name(80), nullable=False),
    sa.Column("caller", sa.String(512), nullable=False),
    sa.Column("justification", sa.Text, nullable=False),
    _instant("at"),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("review_hours", sa.Integer, nullable=False),
    _instant("review_due"),
    sa.Column("reviewer", sa.String(512), nullable=False),
    sa.Column("justified", sa.Boolean, nullable=False),
    sa.Column("finding", sa.Text, nullable=False),
    _instant("reviewed_at", nullable=True),
    sa.Column("escalated_position", sa.BigInteger, nullable=True),
    sa.Index("emergency_uses_by_position", "position"),
    sa.Index("emergency_uses_by_review", "reviewed_at", "review_due"),
)
"""What was released without the consent it otherwise needs, and its review; `escalated_position` is that of the record
which says that the review is overdue."""

idempotency = sa.Table(
    "idempotency",
    METADATA,
    sa.Column("caller", _name(512), primary_key=True),
    sa.Column("method", _name(64), primary_key=True),
    sa.Column("request_id", _name(36), primary_key=True),
    sa.Column("request_digest", sa.String(64), nullable=False),
    sa.Column("response", sa.LargeBinary, nullable=False),
    _instant("at"),
    sa.Index("idempotency_by_age", "at"),
)
"""The first result of each write that named a request id (AIP-155)."""
