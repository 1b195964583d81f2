"""Three departments of the United States describing the same education providers: real, organisation-level tables."""

from pathlib import Path

from isthmus.demo.scenario import Cast, Contract, Department, Question, Scenario, Subject, Test
from isthmus.demo.sources import tables

FILES = ("va/facility_crosswalk.csv", "ed/nces_ipeds_hd.csv", "dod/mou.csv")
"""The files by which the data set is recognised."""

_COMPARE = "GI Bill Comparison Tool"

_INSTITUTION = Contract(
    id="va-institution",
    provider="education",
    consumer="veterans-affairs",
    systems=("comparison-tool",),
    dataset="institution",
    fields={"name": "plain", "state": "plain", "control": "plain", "zip": "mask:4"},
    purposes=(_COMPARE, "退伍军人就读院校核验"),
    legal_basis="LEGAL_OBLIGATION",
    legal_citation="38 U.S.C. 3698",
)
_MONITORING = Contract(
    id="va-cash-monitoring",
    provider="education",
    consumer="veterans-affairs",
    systems=("comparison-tool",),
    dataset="cash-monitoring",
    fields={"method": "plain", "reason": "plain"},
    purposes=(_COMPARE,),
    legal_basis="LEGAL_OBLIGATION",
    legal_citation="38 U.S.C. 3698",
)
_MOU = Contract(
    id="va-mou",
    provider="defense",
    consumer="veterans-affairs",
    systems=("comparison-tool",),
    dataset="mou",
    fields={"institution_name": "plain", "institution_type": "plain", "state": "plain"},
    purposes=(_COMPARE,),
    legal_basis="LEGAL_OBLIGATION",
    legal_citation="38 U.S.C. 3698",
)
_PAYMENT = Contract(
    id="ed-payment",
    provider="veterans-affairs",
    consumer="education",
    systems=("programme-review",),
    dataset="payment",
    fields={"students": "bucket:10", "tuition_paid": "bucket:1000"},
    purposes=("Programme review", "院校项目审查"),
    legal_basis="PUBLIC_TASK",
    legal_citation="20 U.S.C. 1099c-1",
)
_COMPLAINT = Contract(
    id="ed-complaint",
    provider="veterans-affairs",
    consumer="education",
    systems=("programme-review",),
    dataset="complaint",
    fields={"status": "plain"},
    purposes=("Programme review",),
    legal_basis="PUBLIC_TASK",
    legal_citation="20 U.S.C. 1099c-1",
    modes=("QUERY",),
)


def ope(stored: str) -> str:
    """An OPE ID in the canonical form of the manifests: without quotes, eight digits; empty for none."""
    bare = stored.strip().strip('"').strip()
    return bare.rjust(8, "0") if bare.upper() not in ("", "0", "NONE", "NULL") else ""


def scenario(data: Path) -> Scenario:
    """Tells of an institution that all three departments know, and that is under cash monitoring."""
    school, facility = _school(data), _paid_facility(data)
    folders = {"veterans-affairs": "va", "education": "ed", "defense": "dod"}
    systems = {
        "veterans-affairs": ("comparison-tool", "claims"),
        "education": ("programme-review",),
        "defense": ("tuition-assistance",),
    }
    return Scenario(
        source="us_gi_bill",
        title="US GI Bill: Veterans Affairs, Education and Defense on the same institutions (real, public)",
        departments=tuple(
            Department(
                name=name,
                manifest=tables.manifest("gi_bill", name),
                files=tuple(sorted((data / folder).glob("*.csv"))),
                systems=systems[name],
            )
            for name, folder in folders.items()
        ),
        contracts=(_INSTITUTION, _MONITORING, _MOU, _PAYMENT),
        consents=(),
        cast=_cast(school),
        extras=_questions(school, facility),
    )


def _school(data: Path) -> Subject:
    known = (
        tables.keys(data / "ed/nces_ipeds_hd.csv", "opeid", ope)
        & tables.keys(data / "ed/fsa_hcm.csv", "ope id", ope)
        & tables.keys(data / "dod/mou.csv", "ope id", ope)
        & tables.keys(data / "va/facility_crosswalk.csv", "ope", ope)
    )
    return Subject("an institution", "us.ope", tables.pick(known, "institution in all three departments"))


def _paid_facility(data: Path) -> Subject:
    paid = {
        row["facility code"]
        for row in tables.rows(data / "va/post911_stat.csv")
        if row["tuition and fee total amount"] and row["distinct count of tuition and fee"]
    }
    return Subject("a facility that is paid", "us.va.facility", tables.pick(paid, "facility that was paid"))


def _cast(school: Subject) -> Cast:
    return Cast(
        main=_INSTITUTION,
        statutory=_INSTITUTION,
        refused=_COMPLAINT,
        subject=school,
        statutory_subject=school,
        unknown=Subject("an unknown institution", "us.ope", "99999999"),
        hidden_field="ein",
        shows={"name": ".+", "state": "[A-Z]{2}", "control": r"-?\d", "zip": r"\*+.{4}"},
        yes=Test("name", "NE", "", "string"),
        no=Test("state", "EQ", "ZZ", "string"),
        other_purpose="Marketing 广告推送",
        unlisted_system="claims",
        third=("defense", "tuition-assistance"),
    )


def _questions(school: Subject, facility: Subject) -> tuple[Question, ...]:
    return (
        Question(
            name="cash monitoring, stored under a quoted identifier",
            contract=_MONITORING,
            subject=Subject(school.label, school.scheme, f'"{school.id}"'),
            shows={"method": ".+", "reason": ".+"},
        ),
        Question(
            name="the Department of Defense's agreement",
            contract=_MOU,
            subject=school,
            shows={"institution_name": ".+", "state": ".*"},
        ),
        Question(
            name="payments in ranges, the other way round 反向查询",
            contract=_PAYMENT,
            subject=facility,
            shows={"students": r"0|\d*0", "tuition_paid": r"-?\d*000|0"},
            purpose="院校项目审查",
        ),
    )
