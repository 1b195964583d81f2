"""The demonstration's own data: invented residents and companies of four departments."""

from datetime import date
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
from isthmus.demo.sources.population import Population, Resident, company_rows, person_tables, populate

_SCHOOL = "入学资格核验"
_BUS = "School bus planning"

_ENROLMENT = Contract(
    id="edu-person",
    provider="civil-registry",
    consumer="education",
    systems=("enrolment",),
    dataset="person",
    fields={"姓名": "mask:1", "出生日期": "plain", "户籍地址": "mask:6"},
    purposes=(_SCHOOL, _BUS),
    legal_basis=CONSENT,
    legal_citation="个人信息保护法 第十三条第一款第一项",
)
_INSURED = Contract(
    id="tax-enrolment",
    provider="social-insurance",
    consumer="tax",
    systems=("collection",),
    dataset="enrolment",
    fields={"参保状态": "plain", "insured_since": "bucket:year"},
    purposes=("社会保险费征收", "Contribution audit"),
    legal_basis="LEGAL_OBLIGATION",
    legal_citation="税收征收管理法 第六条",
)
_BENEFITS = Contract(
    id="benefits-income",
    provider="tax",
    consumer="social-insurance",
    systems=("benefits",),
    dataset="income",
    fields={"year": "plain", "income": "bucket:10000"},
    purposes=("Eligibility for benefits", "待遇资格审核"),
    legal_basis=CONSENT,
    legal_citation="个人信息保护法 第十三条第一款第一项",
)
_EMPLOYERS = Contract(
    id="employers",
    provider="tax",
    consumer="social-insurance",
    systems=("benefits",),
    dataset="organisation",
    fields={"名称": "plain", "status": "plain", "registered_capital": "bucket:1000000"},
    purposes=("用人单位参保登记",),
    legal_basis="PUBLIC_TASK",
    legal_citation="社会保险法 第五十七条",
)
_ADOPTION = Contract(
    id="edu-adoption",
    provider="civil-registry",
    consumer="education",
    systems=("enrolment",),
    dataset="adoption",
    fields={"登记日期": "plain"},
    purposes=(_SCHOOL,),
    legal_basis="PUBLIC_TASK",
    legal_citation="义务教育法 第十二条",
    modes=("QUERY",),
)

_SYSTEMS = {
    "civil-registry": (),
    "tax": ("collection",),
    "social-insurance": ("benefits",),
    "education": ("enrolment", "canteen"),
}
_TABLES = {
    "civil-registry": ("resident", "adoption"),
    "tax": ("income", "organisation"),
    "social-insurance": ("enrolment",),
    "education": ("degree",),
}


def scenario(work: Path, *, seed: int, today: date) -> Scenario:
    """Invents the data and writes them as CSV files under `work`."""
    people = populate(seed, today=today)
    contents = {**person_tables(people, seed, today=today), "organisation": company_rows(people)}
    files = {name: tables.write(work / f"{name}.csv", rows) for name, rows in contents.items()}
    cast = _cast(people)
    return Scenario(
        source="generated",
        title="合成数据 synthetic residents and companies (no real person, no real company)",
        departments=tuple(
            Department(
                name=name,
                manifest=tables.manifest("generated", name),
                files=tuple(files[table] for table in _TABLES[name]),
                systems=systems,
            )
            for name, systems in _SYSTEMS.items()
        ),
        contracts=(_ENROLMENT, _INSURED, _BENEFITS, _EMPLOYERS),
        consents=_consents(cast),
        cast=cast,
        extras=_questions(people, cast),
    )


def _subject(label: str, each: Resident) -> Subject:
    return Subject(label, "cn.resident-id", each.id)


def _cast(people: Population) -> Cast:
    first, silent, withdrawing, pausing = people.adults[:4]
    main = _subject("居民甲 an adult", first)
    return Cast(
        main=_ENROLMENT,
        statutory=_INSURED,
        refused=_ADOPTION,
        subject=main,
        statutory_subject=main,
        unknown=Subject("外地居民 somebody not registered here", "cn.resident-id", "990002199001010017"),
        hidden_field="监护人",
        shows={"姓名": r"\*+.", "出生日期": r"\d{4}-\d\d-\d\d", "户籍地址": r"\*+.{6}"},
        yes=Test("出生日期", "EQ", str(first.born), "date"),
        no=Test("出生日期", "GT", "2999-01-01", "date"),
        other_purpose="招生广告 advertising",
        unlisted_system="canteen",
        third=("tax", "collection"),
        people=People(
            silent=_subject("居民乙 who never consented", silent),
            withdrawing=_subject("居民丙 who withdraws", withdrawing),
            pausing=_subject("居民丁 who pauses", pausing),
            minor=_subject("未成年人 a minor", people.minors[0]),
        ),
    )


def _consents(cast: Cast) -> tuple[Consent, ...]:
    people = cast.people
    assert people is not None
    fields = tuple(_ENROLMENT.fields)
    given = [("subject", cast.subject), ("withdrawing", people.withdrawing), ("pausing", people.pausing)]
    given.append(("unknown", cast.unknown))
    own = tuple(
        Consent(key=key, contract=_ENROLMENT.id, subject=subject, purposes=(_SCHOOL,), fields=fields)
        for key, subject in given
    )
    guardian = Consent(
        key="minor",
        contract=_ENROLMENT.id,
        subject=people.minor,
        purposes=(_SCHOOL,),
        fields=fields,
        grantor="GUARDIAN",
        evidence_reference="窗口受理-2026-0001",
    )
    benefits = Consent(
        key="benefits",
        contract=_BENEFITS.id,
        subject=cast.subject,
        purposes=_BENEFITS.purposes,
        fields=tuple(_BENEFITS.fields),
    )
    return (*own, guardian, benefits)


def _questions(people: Population, cast: Cast) -> tuple[Question, ...]:
    company = people.companies[0]
    return (
        Question(
            name="收入只给区间 income in ranges of 10 000",
            contract=_BENEFITS,
            subject=cast.subject,
            shows={"year": r"\d{4}", "income": r"\d*0000"},
        ),
        Question(
            name="用人单位登记 an employer, on a statutory basis",
            contract=_EMPLOYERS,
            subject=Subject("企业 a company", "cn.uscc", company.id),
            shows={"名称": ".+", "status": ".+", "registered_capital": r"0|\d+000000"},
        ),
    )
