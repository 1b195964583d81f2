"""A country's year of exchanges, made up: who asks whom for what, about whom, and how it ends. The same every time."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any, Final

from audit.batch.lines import BatchLines
from audit.record import AccessRecord, Kind
from isthmus.canonical import canonical_json
from isthmus.subjects import SubjectTokens

DOMAIN: Final = "data.example"
SCHEME: Final = "cn.resident-id"
DEPARTMENTS: Final = [
    "civil-registry",
    "education",
    "health",
    "tax",
    "social-security",
    "housing",
    "transport",
    "market-regulation",
    "human-resources",
    "public-security",
    "justice",
    "natural-resources",
    "finance",
    "agriculture",
    "culture",
    "veterans",
    "emergency",
    "statistics",
    "medical-insurance",
    "provident-fund",
    "customs",
    "environment",
    "water",
    "energy",
    "science",
    "commerce",
    "tourism",
    "sports",
    "archives",
    "disability",
    "youth",
    "women",
    "trade-union",
    "elderly",
    "urban-management",
    "planning",
    "audit-office",
    "court",
    "procuratorate",
    "archive",
]
_TASKS: Final = [
    "入学资格",
    "低保审核",
    "购房资格",
    "医保结算",
    "纳税核算",
    "社保转移",
    "就业登记",
    "车辆年检",
    "企业开办",
    "婚姻登记",
]
_STEPS: Final = ["核验", "初审", "复核", "抽查", "统计", "年审"]
PURPOSES: Final = tuple(f"{task}{step}" for task in _TASKS for step in _STEPS)
BASES: Final = ("PUBLIC_TASK", "PUBLIC_TASK", "LEGAL_OBLIGATION", "CONSENT", "VITAL_INTEREST")
"""No contract rests on CONTRACT: a search for it finds nothing."""
DENIALS: Final = [
    "CONSENT_MISSING",
    "CONSENT_WITHDRAWN",
    "QUOTA_EXHAUSTED",
    "PURPOSE_NOT_ALLOWED",
    "FIELDS_OUTSIDE_CONTRACT",
    "SYSTEM_NOT_LISTED",
    "CONTRACT_SUSPENDED",
    "PROVIDER_VETO",
]
FIRST: Final = 5_000
"""Among so many records at the beginning are those that never come again: failures, and streams without an end."""
CONTRACTS: Final = 300
CONSENTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that both departments signed."""

    name: str
    consumer: str
    provider: str
    dataset: str
    terms: str
    basis: str
    purposes: tuple[str, ...]
    systems: tuple[str, ...]
    fields: tuple[dict[str, str], ...]

    def said(self) -> dict[str, Any]:
        """What each record of it says."""
        return {
            "consumer": self.consumer,
            "provider": self.provider,
            "dataset": self.dataset,
            "contract": self.name,
            "terms_digest": self.terms,
        }


@dataclass
class Town:
    """Makes records one after another.

    Args:
        people: how many persons there are.
        tokens: the keys of their tokens.
    """

    people: int
    tokens: SubjectTokens
    random: random.Random = field(default_factory=lambda: random.Random(20261124))
    consents: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    open_streams: list[AccessRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contracts = [_contract(number, self.random) for number in range(CONTRACTS)]
        # A few contracts carry most of the traffic, as everywhere.
        self._weights = [1 / (1 + number) ** 0.7 for number in range(CONTRACTS)]
        self._queue: list[Contract] = []
        self._persons = [self.tokens.token(SCHEME, f"1101{n:014}") for n in range(self.people)]

    def token(self, number: int) -> str:
        """The token of a person."""
        return self._persons[number]

    def beginnings(self) -> list[AccessRecord]:
        """The records that come first: both signatures under every contract."""
        return [
            _control("SignContract", each.name, caller=_caller(party, "officer", "li"), **each.said())
            for each in self.contracts
            for party in (each.provider, each.consumer)
        ]

    def grant(self, position: int) -> AccessRecord:
        """The record by which a person consents, at this position of the log."""
        contract = self.random.choice([each for each in self.contracts[:60] if each.basis == "CONSENT"])
        token = self._persons[position % self.people]
        name = f"consents/{_uuid(self.random)}"
        self.consents.setdefault(contract.name, []).append((name, position, token))
        caller = f"spiffe://{DOMAIN}/portal/citizen"
        return _control(
            "GrantConsent",
            name,
            caller=caller,
            subject_token=token,
            change={"event": "GRANTED"},
            **contract.said(),
        )

    def next(self, position: int) -> tuple[AccessRecord, BatchLines | None]:
        """The next record of an ordinary day."""
        dice = self.random.random()
        if dice < 0.001:
            return self._lookup(), None
        if dice < 0.002 and self.open_streams:
            return self._stream_end(self.open_streams.pop(0), dice), None
        contract = self._pick()
        if contract.basis != "CONSENT":
            if dice < 0.004:
                return self._batch(contract)
            if dice < 0.006:
                return self._stream(contract, position), None
        if dice < 0.05:
            return self._denial(contract), None
        if position < FIRST and dice < 0.051:
            error = self._said(contract) | {"decision": "ERROR", "reasons": ("DEPARTMENT_TIMEOUT",)}
            return AccessRecord(**error, grpc_code="UNAVAILABLE"), None
        return self._allowed(contract, emergency=dice > 0.9996), None

    def _pick(self) -> Contract:
        if not self._queue:
            self._queue = self.random.choices(self.contracts, self._weights, k=4096)
        return self._queue.pop()

    def _allowed(self, contract: Contract, *, emergency: bool) -> AccessRecord:
        said = self._said(contract) | _released(contract, rows=1)
        said["mode"] = "VERIFY" if self.random.random() < 0.2 else "QUERY"
        if emergency:
            return AccessRecord(**said, emergency="急诊抢救，本人昏迷")
        if contract.basis == "CONSENT":
            given = self.consents.get(contract.name)
            if not given:
                return self._denial(contract)
            name, position, token = self.random.choice(given)
            said |= {"subject_token": token, "consents": ({"name": name, "position": position},)}
        return AccessRecord(**said)

    def _denial(self, contract: Contract) -> AccessRecord:
        reasons = tuple(self.random.sample(DENIALS, 1 if self.random.random() < 0.8 else 2))
        said = self._said(contract) | {"decision": "DENY", "reasons": reasons, "rules": ("forbid-1",)}
        return AccessRecord(**said, grpc_code="PERMISSION_DENIED")

    def _batch(self, contract: Contract) -> tuple[AccessRecord, BatchLines]:
        tokens = sorted({self._person() for _ in range(10)})
        lines = BatchLines.of(
            [
                canonical_json(
                    {"index": n, "token": token, "decision": "ALLOW", "rows": 1, "nonce": f"{n + 1:032x}"}
                )
                for n, token in enumerate(tokens)
            ],
            tokens,
        )
        said = self._said(contract) | _released(contract, rows=len(tokens))
        said |= {"subject_token": "", "subject_count": len(tokens), "mode": "BATCH"}
        return AccessRecord(**said, subjects_root=lines.root, outcomes={"ALLOW": len(tokens)}), lines

    def _stream(self, contract: Contract, position: int) -> AccessRecord:
        said = self._said(contract) | {"mode": "STREAM", "subject_token": "", "subject_count": 0}
        record = AccessRecord(**said, decision="ALLOW", fields=contract.fields, grpc_code="OK")
        if position > FIRST:
            self.open_streams.append(record)
        return record

    def _stream_end(self, opened: AccessRecord, dice: float) -> AccessRecord:
        names = ("exchange", "caller", "certificate", "consumer", "provider", "dataset", "contract")
        said = {name: getattr(opened, name) for name in (*names, "terms_digest", "fields")}
        said |= {"kind": Kind.STREAM_END, "row_count": 5_000, "byte_count": 800_000}
        if dice < 0.0018:
            return AccessRecord(**said, action="COMPLETE", provider_receipt_digest="7c" * 32)
        return AccessRecord(**said, action="CANCELLED", reasons=("CANCELLED",))

    def _lookup(self) -> AccessRecord:
        return AccessRecord(
            exchange=f"exchanges/{_uuid(self.random)}",
            kind=Kind.LOOKUP,
            caller=f"spiffe://{DOMAIN}/auditor/{self.random.choice(('wang', 'zhao', 'sun'))}",
            certificate="5e" * 32,
            subject_token=self._person() if self.random.random() < 0.3 else "",
            action="ListRecords",
            change={"filter_commitment": self.random.randbytes(32).hex()},
        )

    def _said(self, contract: Contract) -> dict[str, Any]:
        chance = self.random.random()
        case = f"案-2026-{self.random.randrange(10**7):07}" if chance < 0.6 else ""
        system = self.random.choice(contract.systems)
        return contract.said() | {
            "exchange": f"exchanges/{_uuid(self.random)}",
            "kind": Kind.DECISION,
            "caller": _caller(contract.consumer, "system", system),
            "certificate": hashlib.sha256(system.encode()).hexdigest(),
            "purpose": contract.purposes[int(chance * 1000) % len(contract.purposes)],
            "legal_basis": contract.basis,
            "case_reference": case,
            "subject_token": self._person(),
            "subject_count": 1,
            "mode": "QUERY",
            "policy_digest": "4d" * 32,
            "request_commitment": self.random.randbytes(32).hex(),
            "trace_id": self.random.randbytes(16).hex(),
        }

    def _person(self) -> str:
        return self._persons[int(self.random.random() * self.people)]


def _uuid(source: random.Random) -> str:
    """An identifier like those of exchanges, from this town's dice."""
    bits = source.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _contract(number: int, source: random.Random) -> Contract:
    consumer, provider = source.sample(DEPARTMENTS, 2)
    basis = "CONSENT" if number % 5 == 3 else source.choice([each for each in BASES if each != "CONSENT"])
    names = source.sample(["full_name", "birth_date", "address", "income", "status", "valid_until"], 3)
    return Contract(
        name=f"contracts/{consumer}-{provider}-{number}@1",
        consumer=f"departments/{consumer}",
        provider=f"departments/{provider}",
        dataset=f"departments/{provider}/datasets/{source.choice(('person', 'case', 'licence'))}",
        terms=hashlib.sha256(f"{number}".encode()).hexdigest(),
        basis=basis,
        purposes=tuple(source.sample(PURPOSES[:-1], 2)),
        systems=tuple(f"system-{source.randrange(6)}" for _ in range(2)),
        fields=tuple({"name": name, "transform": "plain"} for name in sorted(names)),
    )


def _caller(department: str, role: str, name: str) -> str:
    return f"spiffe://{DOMAIN}/department/{department.removeprefix('departments/')}/{role}/{name}"


def _control(action: str, resource: str, **said: Any) -> AccessRecord:
    name = f"exchanges/{hashlib.sha256(f'{action}{resource}{said}'.encode()).hexdigest()[:32]}"
    return AccessRecord(
        exchange=name, kind=Kind.CONTROL, action=action, resource=resource, grpc_code="OK", **said
    )


def _released(contract: Contract, *, rows: int) -> dict[str, Any]:
    return {
        "decision": "ALLOW",
        "fields": contract.fields,
        "row_count": rows,
        "byte_count": 180 * rows,
        "response_commitment": "8b" * 32,
        "provider_receipt_digest": "7c" * 32,
        "grpc_code": "OK",
    }
