"""Invented residents and companies, the same for the same seed. No real person and no real company.

Identity numbers have valid check digits (GB 11643, GB 32100) and the area code 990001, which was never assigned.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from faker import Faker

AREA: Final = "990001"
"""An administrative area code that GB/T 2260 assigns to no place."""

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK: Final = "10X98765432"
_USCC: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Resident:
    """An invented person; `guardian` is the number of a parent, empty for adults."""

    id: str
    name: str
    born: date
    address: str
    guardian: str = ""


@dataclass(frozen=True, slots=True)
class Company:
    """An invented company."""

    id: str
    name: str
    capital: int
    representative: str


@dataclass(frozen=True, slots=True)
class Population:
    """Adults and minors, each minor with a guardian among the adults, and companies."""

    adults: tuple[Resident, ...]
    minors: tuple[Resident, ...]
    companies: tuple[Company, ...]

    @property
    def residents(self) -> tuple[Resident, ...]:
        """Everybody."""
        return self.adults + self.minors


def resident_id(born: date, serial: int) -> str:
    """A resident identity number with its check character (GB 11643, ISO 7064 MOD 11-2)."""
    body = f"{AREA}{born:%Y%m%d}{serial:03d}"
    return body + _CHECK[sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11]


def company_id(serial: int) -> str:
    """A unified social credit code with its check character (GB 32100)."""
    body = f"91{AREA}MA{serial:07d}"
    total = sum(_USCC.index(char) * pow(3, place, 31) for place, char in enumerate(body))
    return body + _USCC[(31 - total % 31) % 31]


def populate(
    seed: int, *, today: date, adults: int = 60, minors: int = 20, companies: int = 20
) -> Population:
    """Invents a population.

    Args:
        seed: the same seed and day give the same population.
        today: ages count from here: adults are 20 to 79, minors 3 to 15.
    """
    chance = random.Random(seed)
    fakers = [Faker(locale) for locale in ("zh_CN", "en_US")]
    for faker in fakers:
        faker.seed_instance(seed)
    grown = tuple(_resident(fakers, chance, today, number, (20, 79)) for number in range(adults))
    young = tuple(
        _resident(fakers, chance, today, adults + number, (3, 15), guardian=chance.choice(grown).id)
        for number in range(minors)
    )
    firms = tuple(
        Company(
            company_id(number),
            fakers[number % 2].company(),
            chance.randrange(1, 500) * 100_000,
            fakers[number % 2].name(),
        )
        for number in range(companies)
    )
    return Population(grown, young, firms)


def _resident(
    fakers: Sequence[Faker],
    chance: random.Random,
    today: date,
    number: int,
    ages: tuple[int, int],
    *,
    guardian: str = "",
) -> Resident:
    faker = fakers[number % len(fakers)]
    born = today - timedelta(days=chance.randrange(ages[0] * 366, ages[1] * 365))
    address = faker.address().replace("\n", ", ")
    return Resident(resident_id(born, number), faker.name(), born, address, guardian)


def person_tables(people: Population, seed: int, *, today: date) -> dict[str, list[Row]]:
    """The rows of every department's tables about persons, by table name."""
    chance = random.Random(seed + 1)
    return {
        "resident": [_resident_row(each, chance) for each in people.residents],
        "adoption": [
            {"身份证号": each.id, "登记日期": str(each.born + timedelta(days=400))}
            for each in people.minors[:3]
        ],
        "income": [
            {"resident_id": each.id, "year": str(today.year - 1), "yearly_income": f"{income}.50"}
            for each in people.adults
            for income in [chance.randrange(45_000, 480_000)]
        ],
        "enrolment": [_enrolment_row(each, chance) for each in people.adults],
        "degree": [
            {
                "resident_id": each.id,
                "level": chance.choice(("本科", "硕士", "Bachelor", "大专")),
                "awarded_on": str(each.born + timedelta(days=22 * 365 + 200)),
            }
            for each in people.adults
            if (today - each.born).days > 23 * 366
        ],
    }


def company_rows(people: Population) -> list[Row]:
    """The rows of the tax administration's table of companies."""
    return [
        {
            "uscc": each.id,
            "name": each.name,
            "status": "存续" if number % 7 else "注销",
            "capital": f"{each.capital}.00",
            "legal_representative": each.representative,
        }
        for number, each in enumerate(people.companies, 1)
    ]


def _resident_row(each: Resident, chance: random.Random) -> Row:
    return {
        "身份证号": each.id,
        "姓名": each.name,
        "出生日期": str(each.born),
        "户籍地址": each.address,
        "户口性质": chance.choice(("家庭户", "集体户")),
        "监护人身份证号": each.guardian,
        "数据性质": "合成数据 synthetic",
    }


def _enrolment_row(each: Resident, chance: random.Random) -> Row:
    return {
        "resident_id": each.id,
        "status": chance.choice(("正常参保", "暂停缴费")),
        "insured_since": str(each.born + timedelta(days=20 * 365)),
        "monthly_base": f"{chance.randrange(4_000, 30_000)}.00",
    }
