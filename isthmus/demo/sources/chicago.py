"""Three departments of the City of Chicago describing the same food premises: real, premises-level tables."""

from pathlib import Path

from isthmus.demo.scenario import Cast, Contract, Department, Question, Scenario, Subject, Test
from isthmus.demo.sources import tables

FILES = (
    "bacp_business_license.csv",
    "cdph_food_inspection.csv",
    "cdph_dispatch.csv",
    "dss_sanitation_complaint.csv",
)
"""The files by which the data set is recognised."""

_LICENCE = Contract(
    id="inspection-licence",
    provider="business-affairs",
    consumer="public-health",
    systems=("inspections",),
    dataset="licence",
    fields={
        "trade_name": "plain",
        "status": "plain",
        "expires": "bucket:month",
        "account_number": "mask:2",
    },
    purposes=("Planning of food inspections", "食品安全检查计划"),
    legal_basis="PUBLIC_TASK",
    legal_citation="Municipal Code of Chicago, chapter 7-38",
)
_COMPLAINT = Contract(
    id="inspection-complaint",
    provider="streets-sanitation",
    consumer="public-health",
    systems=("inspections",),
    dataset="complaint",
    fields={"created_on": "bucket:month", "violation": "plain"},
    purposes=("Planning of food inspections",),
    legal_basis="PUBLIC_TASK",
    legal_citation="Municipal Code of Chicago, chapter 7-38",
)
_INSPECTION = Contract(
    id="renewal-inspection",
    provider="public-health",
    consumer="business-affairs",
    systems=("renewals",),
    dataset="inspection",
    fields={"inspected_on": "plain", "result": "plain", "critical_count": "plain"},
    purposes=("Renewal of licences", "许可证续期"),
    legal_basis="PUBLIC_TASK",
    legal_citation="Municipal Code of Chicago, chapter 4-8",
)
_DISPATCH = Contract(
    id="renewal-dispatch",
    provider="public-health",
    consumer="business-affairs",
    systems=("renewals",),
    dataset="dispatch",
    fields={"visit_date": "plain"},
    purposes=("Renewal of licences",),
    legal_basis="PUBLIC_TASK",
    legal_citation="Municipal Code of Chicago, chapter 4-8",
    modes=("QUERY",),
)
_DEPARTMENTS = {
    "business-affairs": (FILES[:1], ("renewals",)),
    "public-health": (FILES[1:3], ("inspections", "laboratory")),
    "streets-sanitation": (FILES[3:], ("requests-311",)),
}


def scenario(data: Path) -> Scenario:
    """Tells of premises that are licensed, inspected and complained about."""
    licensed = tables.keys(data / FILES[0], "license_number")
    inspected = tables.keys(data / FILES[1], "license_number")
    licence = tables.pick(licensed & inspected, "premises both licensed and inspected")
    premises = Subject("a restaurant", "us.chicago.licence", licence)
    address = tables.pick(tables.keys(data / FILES[3], "street_address"), "address with a complaint")
    return Scenario(
        source="chicago_food",
        title="City of Chicago: licences, inspections and complaints of food premises (real, public)",
        departments=tuple(
            Department(
                name=name,
                manifest=tables.manifest("chicago", name),
                files=tuple(data / file for file in files),
                systems=systems,
            )
            for name, (files, systems) in _DEPARTMENTS.items()
        ),
        contracts=(_LICENCE, _COMPLAINT, _INSPECTION),
        consents=(),
        cast=_cast(premises),
        extras=_questions(premises, Subject("an address", "us.chicago.address", address)),
    )


def _cast(premises: Subject) -> Cast:
    return Cast(
        main=_LICENCE,
        statutory=_LICENCE,
        refused=_DISPATCH,
        subject=premises,
        statutory_subject=premises,
        unknown=Subject("unlicensed premises", "us.chicago.licence", "99999999"),
        hidden_field="precinct",
        shows={
            "trade_name": ".+",
            "status": "[A-Z]{3}",
            "expires": r"\d{4}-\d\d-01",
            "account_number": r"\*+.{0,2}",
        },
        yes=Test("trade_name", "NE", "", "string"),
        no=Test("status", "EQ", "ZZZ", "string"),
        other_purpose="Marketing 广告推送",
        unlisted_system="laboratory",
        third=("streets-sanitation", "requests-311"),
    )


def _questions(premises: Subject, address: Subject) -> tuple[Question, ...]:
    return (
        Question(
            name="complaints by address, dates by month",
            contract=_COMPLAINT,
            subject=address,
            shows={"created_on": r"\d{4}-\d\d-01", "violation": ".*"},
        ),
        Question(
            name="results of inspections, the other way round 反向查询",
            contract=_INSPECTION,
            subject=premises,
            shows={"inspected_on": r"\d{4}-\d\d-\d\d", "result": ".+", "critical_count": r"\d+"},
            purpose="许可证续期",
        ),
    )
