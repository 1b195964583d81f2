"""Synthetic persons of Nebraska, split by department. No real person."""

from pathlib import Path

from isthmus.demo.scenario import (
    CONSENT,
    Cast,
    Consent,
    Contract,
    Department,
    People,
    Question,
    Scenario,
    Subject,
    Test,
)
from isthmus.demo.sources import tables

FILES = (
    "civil_registry/person.csv",
    "transport/driver_licence.csv",
    "foreign_affairs/passport.csv",
    "tax/income.csv",
    "health/patient_index.csv",
    "health/immunizations.csv",
    "insurance/payer_transitions.csv",
)
"""The files by which the data set is recognised."""

_ADULT_BEFORE = "2004-01-01"
_MINOR_AFTER = "2012-01-01"
_COVER = "Health insurance cover"
_CHILD = "Vaccination cover of children 儿童疫苗接种保障"

_PERSON = Contract(
    id="insurance-person",
    provider="civil-registry",
    consumer="insurance",
    systems=("benefits",),
    dataset="person",
    fields={"last_name": "mask:3", "birth_date": "plain", "city": "plain"},
    purposes=(_COVER, "核验投保人身份"),
    legal_basis=CONSENT,
    legal_citation="5 U.S.C. 552a(b)",
)
_LICENCE = Contract(
    id="passport-licence",
    provider="transport",
    consumer="foreign-affairs",
    systems=("passport-desk",),
    dataset="licence",
    fields={"licence_number": "mask:4", "birth_date": "bucket:year"},
    purposes=("Identity of passport applicants",),
    legal_basis="PUBLIC_TASK",
    legal_citation="22 CFR 51.23",
)
_INCOME = Contract(
    id="insurance-income",
    provider="tax",
    consumer="insurance",
    systems=("benefits",),
    dataset="income",
    fields={"income": "bucket:10000"},
    purposes=("Premium subsidies 保费补贴",),
    legal_basis=CONSENT,
    legal_citation="26 U.S.C. 6103(c)",
)
_VACCINES = Contract(
    id="insurance-immunization",
    provider="health",
    consumer="insurance",
    systems=("benefits",),
    dataset="immunization",
    fields={"given_at": "bucket:month", "vaccine": "plain"},
    purposes=(_CHILD,),
    legal_basis=CONSENT,
    legal_citation="45 CFR 164.508",
)
_COVERAGE = Contract(
    id="health-coverage",
    provider="insurance",
    consumer="health",
    systems=("billing",),
    dataset="coverage",
    fields={"payer": "plain", "starts_at": "bucket:year", "member_id": "hash"},
    purposes=("Settlement of claims",),
    legal_basis="CONTRACT",
    legal_citation="45 CFR 164.506(c)",
)
_CONDITION = Contract(
    id="insurance-condition",
    provider="health",
    consumer="insurance",
    systems=("benefits",),
    dataset="condition",
    fields={"description": "plain"},
    purposes=(_COVER,),
    legal_basis=CONSENT,
    legal_citation="45 CFR 164.508",
    modes=("QUERY",),
)

_SYSTEMS = {
    "civil-registry": (),
    "transport": (),
    "foreign-affairs": ("passport-desk",),
    "tax": (),
    "health": ("billing",),
    "insurance": ("benefits", "marketing"),
}
_BY_SSN = 'CREATE VIEW {view} AS SELECT i."SSN", t.* FROM {table} t JOIN patient_index i ON i."PATIENT" = t."PATIENT"'
_COVER_VIEW = (
    'CREATE VIEW coverage AS SELECT t."PATIENT", t."MEMBERID", t."START_DATE", p."NAME" '
    'FROM payer_transitions t JOIN payers p ON p."Id" = t."PAYER"'
)
_VIEWS = {
    "health": (
        _BY_SSN.format(view="immunization_by_ssn", table="immunizations"),
        _BY_SSN.format(view="condition_by_ssn", table="conditions"),
    ),
    "insurance": (_COVER_VIEW,),
}


def scenario(data: Path) -> Scenario:
    """Tells of adults with a driver licence, and of a child."""
    adults = _adults(data)
    minor = _subject("a minor 未成年人", _minor(data))
    cast = _cast(adults, minor)
    return Scenario(
        source="synthea_persons",
        title="Synthea: synthetic persons in six departments (no real person)",
        departments=tuple(_department(data, name) for name in _SYSTEMS),
        contracts=(_PERSON, _LICENCE, _INCOME, _VACCINES, _COVERAGE),
        consents=_consents(cast),
        cast=cast,
        extras=_questions(data, cast),
    )


def _department(data: Path, name: str) -> Department:
    files = sorted((data / name.replace("-", "_")).glob("*.csv"))
    return Department(
        name=name,
        manifest=tables.manifest("synthea", name),
        files=tuple(files),
        views=_VIEWS.get(name, ()),
        systems=_SYSTEMS[name],
    )


def _adults(data: Path) -> list[str]:
    people = data / "civil_registry/person.csv"
    grown = {
        row["SSN"] for row in tables.rows(people) if row["BIRTHDATE"] < _ADULT_BEFORE and not row["DEATHDATE"]
    }
    drivers = sorted(grown & tables.keys(data / "transport/driver_licence.csv", "SSN"))
    tables.pick(set(drivers[3:]), "four living adults with a driver licence")
    return drivers[:4]


def _minor(data: Path) -> str:
    patients = {row["PATIENT"]: row["SSN"] for row in tables.rows(data / "health/patient_index.csv")}
    vaccinated = {patients[key] for key in tables.keys(data / "health/immunizations.csv", "PATIENT")}
    young = {
        row["SSN"]
        for row in tables.rows(data / "civil_registry/person.csv")
        if row["BIRTHDATE"] > _MINOR_AFTER and not row["DEATHDATE"]
    }
    return tables.pick(young & vaccinated, "minor with an immunization")


def _subject(label: str, ssn: str) -> Subject:
    return Subject(label, "us.ssn", ssn)


def _cast(adults: list[str], minor: Subject) -> Cast:
    first = _subject("an adult 成年人", adults[0])
    return Cast(
        main=_PERSON,
        statutory=_LICENCE,
        refused=_CONDITION,
        subject=first,
        statutory_subject=first,
        unknown=_subject("somebody not registered here", "999-00-0000"),
        hidden_field="race",
        shows={"last_name": r"\*+.{0,3}", "birth_date": r"\d{4}-\d\d-\d\d", "city": ".+"},
        yes=Test("birth_date", "LT", _ADULT_BEFORE, "date"),
        no=Test("birth_date", "GT", "2999-01-01", "date"),
        other_purpose="Advertising 广告推送",
        unlisted_system="marketing",
        third=("health", "billing"),
        people=People(
            silent=_subject("somebody who never consented", adults[1]),
            withdrawing=_subject("somebody who withdraws 撤回人", adults[2]),
            pausing=_subject("somebody who pauses", adults[3]),
            minor=minor,
        ),
    )


def _consents(cast: Cast) -> tuple[Consent, ...]:
    people = cast.people
    assert people is not None
    given = {
        "subject": cast.subject,
        "withdrawing": people.withdrawing,
        "pausing": people.pausing,
        "unknown": cast.unknown,
    }
    own = [_consent(key, _PERSON, subject) for key, subject in given.items()]
    own.append(_consent("income", _INCOME, cast.subject))
    return (*own, _consent("minor", _PERSON, people.minor), _consent("vaccines", _VACCINES, people.minor))


def _consent(key: str, contract: Contract, subject: Subject) -> Consent:
    minor = key in ("minor", "vaccines")
    return Consent(
        key=key,
        contract=contract.id,
        subject=subject,
        purposes=contract.purposes[:1],
        fields=tuple(contract.fields),
        grantor="GUARDIAN" if minor else "SELF",
        evidence_reference="counter file 2026-0001" if minor else "",
    )


def _questions(data: Path, cast: Cast) -> tuple[Question, ...]:
    people = cast.people
    assert people is not None
    patients = tables.keys(data / "insurance/payer_transitions.csv", "PATIENT")
    patient = Subject("a patient", "us.patient", tables.pick(patients, "insured patient"))
    return (
        Question(
            name="income in ranges of 10 000 收入区间",
            contract=_INCOME,
            subject=cast.subject,
            shows={"income": r"0|-?\d+0000"},
        ),
        Question(
            name="a child's vaccinations, by a guardian's consent",
            contract=_VACCINES,
            subject=people.minor,
            shows={"given_at": r"\d{4}-\d\d-01T.*", "vaccine": ".+"},
        ),
        Question(
            name="insurance cover, on the basis of a contract",
            contract=_COVERAGE,
            subject=patient,
            shows={"payer": ".+", "starts_at": r"\d{4}-01-01T.*", "member_id": r"[0-9a-f]{32}"},
        ),
    )
