"""A local rule pack: it inherits the law it extends, follows it, and can only be stricter."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clocks import pack_folder
from gateway.clocks.limits import LimitKind, SupplementClock, Unit
from gateway.clocks.pack import Pack
from gateway.clocks.pack_folder import load_packs
from gateway.clocks.tighten import require_tighter
from isthmus.config import ConfigError

CHINA = "china-809@2025-08-01"
RULES = Path(pack_folder.__file__).parents[1] / "rules"
LOADED = load_packs()
LAW = (RULES / "china-809.toml").read_text("utf-8")
JIANGCHENG = """
name = "jiangcheng"
effective = 2026-01-01
title_en = "Jiangcheng"
title_zh = "江城"
source = "《江城市政务数据共享办法》"
extends = "china-809"
"""
SHORTER = """
[limits.answer_conditional]
amount = 5
article = "《江城办法》第二十条"
extension = { amount = 5 }
"""


def write(folder: Path, text: str, name: str = "local.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def refusal(folder: Path, text: str, name: str = "local.toml") -> ConfigError:
    path = write(folder, text, name)
    with pytest.raises(ConfigError) as refused:
        load_packs(folder)
    assert refused.value.source == str(path)
    return refused.value


@pytest.fixture(scope="module")
def china() -> Pack:
    return load_packs().by_ref(CHINA)


def test_a_local_pack_shortens_by_its_own_article_and_inherits_the_rest(tmp_path: Path, china: Pack) -> None:
    more = """
[limits.rectification]
amount = 30
unit = "days"
article = "《江城办法》第三十条"
title_en = "Put a breach right"
title_zh = "限期整改"
[supplement]
clock = "continues"
article = "《江城办法》第二十一条"
[limits.use_records]
amount = 5
article = "《江城办法》第四十条"
[limits.catalogue_update]
amount = 10
article = "《江城办法》第十条"
extension = { amount = 0 }
"""
    write(tmp_path, JIANGCHENG + SHORTER + more)
    local = load_packs(tmp_path).at("jiangcheng", date(2026, 9, 18))
    assert (local.ref, local.bases) == ("jiangcheng@2026-01-01", (CHINA,))
    answer = local.limits[LimitKind.ANSWER_CONDITIONAL]
    assert (answer.amount, answer.article) == (5, "《江城办法》第二十条")
    assert answer.extension is not None
    assert (answer.extension.amount, answer.extension.authority_consents) == (5, True)
    assert answer.title_zh == china.limits[LimitKind.ANSWER_CONDITIONAL].title_zh
    assert local.limits[LimitKind.PROVISION] == china.limits[LimitKind.PROVISION]
    assert local.limits[LimitKind.RECTIFICATION].unit is Unit.DAYS
    assert local.limits[LimitKind.USE_RECORDS].amount == 5
    assert local.limits[LimitKind.CATALOGUE_UPDATE].extension is None
    assert (local.supplement.clock, local.supplement.notices) == (SupplementClock.CONTINUES, 1)
    assert (local.calendar, local.zone) == (china.calendar, china.zone)


ARTICLE = 'article = "《江城办法》第二十条"\n'


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("[limits.provision]\namount = 21\n", "limits.provision.amount", "21 is longer than 20 working_days"),
        ("[limits.use_records]\namount = 2\n", "limits.use_records.amount", "2 is shorter than 3 years"),
        ("[limits.provision]\nunit = 'hours'\n", "limits.provision.unit", "cannot be compared with 20"),
        (
            "[limits.answer_conditional]\nextension = { amount = 11 }\n",
            "limits.answer_conditional.extension.amount",
            "11 is longer than 10 working_days",
        ),
        (
            "[limits.answer_conditional]\nextension = { authority_consents = false }\n",
            "limits.answer_conditional.extension.authority_consents",
            "cannot be waived",
        ),
        (
            "[limits.answer_conditional]\nextension = { requester_told = false }\n",
            "limits.answer_conditional.extension.requester_told",
            "cannot be waived",
        ),
        (
            "[limits.provision]\nextension = { amount = 1, authority_consents = true, requester_told = true }\n",
            "limits.provision.extension",
            "there is none",
        ),
        ("[rules.two_person]\nrequired = false\n", "rules.two_person.required", "cannot be waived"),
        (
            "[forms.request]\nfields = ['scenario', 'scope', 'modes']\n",
            "forms.request.fields",
            "must keep legal_citation, period",
        ),
        ("[supplement]\nclock = 'restarts'\n", "supplement.clock", "restarts gives more time than pauses"),
        ("[supplement]\nnotices = 2\n", "supplement.notices", "2 are more than 1"),
    ],
)
def test_a_local_pack_that_is_laxer_is_refused_by_name(
    tmp_path: Path, text: str, key: str, problem: str
) -> None:
    section, _, body = text.partition("\n")
    refused = refusal(tmp_path, f"{JIANGCHENG}{section}\n{ARTICLE}{body}")
    assert refused.key == key
    assert problem in str(refused)
    assert f"by {CHINA} (《政务数据共享条例》第" in str(refused)
    assert "may only be stricter" in str(refused)


@given(st.sampled_from(list(LimitKind)), st.integers(1, 100))
def test_a_changed_limit_passes_exactly_when_it_is_no_laxer(kind: LimitKind, amount: int) -> None:
    base = LOADED.by_ref(CHINA)
    if kind not in base.limits:
        return
    changed = replace(base.limits[kind], amount=amount)
    local = replace(base, limits={**base.limits, kind: changed})
    most = base.limits[kind].amount
    if amount >= most if kind.at_least else amount <= most:
        require_tighter(local, base, file="x.toml")
    else:
        with pytest.raises(ConfigError, match=re.escape(f"limits.{kind.value}.amount")):
            require_tighter(local, base, file="x.toml")


def test_a_local_pack_follows_the_law_it_extends(tmp_path: Path) -> None:
    amended = LAW.replace("effective = 2025-08-01", "effective = 2028-01-01").replace(
        "amount = 20", "amount = 15"
    )
    write(tmp_path, amended, "china-809-2028.toml")
    write(tmp_path, JIANGCHENG + SHORTER)
    packs = load_packs(tmp_path)
    before, after = packs.at("jiangcheng", date(2027, 12, 31)), packs.at("jiangcheng", date(2028, 1, 1))
    assert (before.ref, before.limits[LimitKind.PROVISION].amount) == ("jiangcheng@2026-01-01", 20)
    assert (after.ref, after.limits[LimitKind.PROVISION].amount) == ("jiangcheng@2028-01-01", 15)
    assert after.bases == ("china-809@2028-01-01",)
    assert after.limits[LimitKind.ANSWER_CONDITIONAL].amount == 5


def test_a_local_pack_that_the_law_has_overtaken_is_refused_at_loading(tmp_path: Path) -> None:
    amended = LAW.replace("effective = 2025-08-01", "effective = 2028-01-01").replace(
        "amount = 20", "amount = 15"
    )
    write(tmp_path, amended, "china-809-2028.toml")
    own = f"{JIANGCHENG}[limits.provision]\namount = 18\n{ARTICLE}"
    refused = refusal(tmp_path, own)
    assert "18 is longer than 15 working_days, by china-809@2028-01-01" in str(refused)
    # A version of its own from that day on puts it right, and the old one stays as it was.
    new = JIANGCHENG.replace("2026-01-01", "2028-01-01")
    write(tmp_path, f"{new}[limits.provision]\namount = 12\n{ARTICLE}", "local-2028.toml")
    packs = load_packs(tmp_path)
    assert packs.by_ref("jiangcheng@2026-01-01").limits[LimitKind.PROVISION].amount == 18
    assert packs.by_ref("jiangcheng@2028-01-01").limits[LimitKind.PROVISION].amount == 12


def test_packs_may_stand_upon_each_other_but_not_in_a_circle_or_without_end(tmp_path: Path) -> None:
    write(tmp_path, JIANGCHENG + SHORTER)
    district = JIANGCHENG.replace('"jiangcheng"', '"north"').replace('"china-809"', '"jiangcheng"')
    write(tmp_path, district, "north.toml")
    assert load_packs(tmp_path).at("north", date(2026, 9, 1)).bases == ("jiangcheng@2026-01-01", CHINA)
    laxer = f"{district}[limits.answer_conditional]\namount = 6\n{ARTICLE}"
    assert "6 is longer than 5 working_days, by jiangcheng@2026-01-01" in str(
        refusal(tmp_path, laxer, "north.toml")
    )
    circle = JIANGCHENG.replace('"china-809"', '"north"')
    write(tmp_path, district, "north.toml")
    write(tmp_path, circle)
    with pytest.raises(ConfigError, match="jiangcheng extends north extends jiangcheng: a circle"):
        load_packs(tmp_path)
    above = "china-809"
    for level in range(5):
        text = JIANGCHENG.replace('"jiangcheng"', f'"level-{level}"').replace('"china-809"', f'"{above}"')
        write(tmp_path, text, ("local.toml", "north.toml", "c.toml", "d.toml", "e.toml")[level])
        above = f"level-{level}"
    with pytest.raises(ConfigError, match="more than 4 packs upon each other"):
        load_packs(tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (JIANGCHENG.replace("effective = 2026-01-01", ""), "effective", "is missing; write it"),
        (
            JIANGCHENG.replace("2026-01-01", "2025-07-31"),
            "effective",
            "china-809 is not yet in force on 2025-07-31",
        ),
        (JIANGCHENG.replace('"china-809"', '"china-908"'), "extends", "did you mean china-809?"),
        (JIANGCHENG.replace('"jiangcheng"', '"Jiangcheng"'), "name", "must be 1 to 63 of a-z"),
        (JIANGCHENG.replace('"江城"', '" "'), "title_zh", "must be 1 to 500 characters"),
        (JIANGCHENG.replace("extends", "extend"), "extend", "did you mean extends?"),
        (JIANGCHENG.replace('extends = "china-809"', ""), "calendar", "is missing"),
        (JIANGCHENG + 'zone = "UTC"\n', "zone", "is that of china-809; leave it out"),
        (JIANGCHENG + 'calendar = "weekdays"\n', "calendar", "is that of china-809; leave it out"),
        (
            JIANGCHENG + "[limits.anser_conditional]\namount = 5\n",
            "limits.anser_conditional",
            "did you mean answer_con",
        ),
        (JIANGCHENG + "[limits.provision]\namount = 5\n", "limits.provision.article", "is missing"),
        (
            JIANGCHENG + f"[limits.provision]\n{ARTICLE}amount = 0\n",
            "limits.provision",
            "must be from 1 to 1000",
        ),
        (
            JIANGCHENG + f"[limits.provision]\n{ARTICLE}amount = '5'\n",
            "limits.provision.amount",
            "whole number",
        ),
        (
            JIANGCHENG + f"[limits.provision]\n{ARTICLE}unit = 'weeks'\n",
            "limits.provision.unit",
            "must be one of",
        ),
        (JIANGCHENG + f"[limits.provision]\n{ARTICLE}days = 5\n", "limits.provision.days", "is not known"),
        (JIANGCHENG + f"[limits.dispute]\n{ARTICLE}amount = 5\n", "limits.dispute.unit", "is missing"),
        (JIANGCHENG + f"[rules.two_persons]\n{ARTICLE}required = true\n", "rules.two_persons", "two_person?"),
        (JIANGCHENG + f"[forms.request]\n{ARTICLE}fields = []\n", "forms.request.fields", "must be 1 to 64"),
        (
            JIANGCHENG + f"[forms.request]\n{ARTICLE}fields = ['a b']\n",
            "forms.request.fields.0",
            "must be a name",
        ),
        (JIANGCHENG + f"[supplement]\n{ARTICLE}notices = 0\n", "supplement", "notices must be from 1 to 16"),
        (
            LAW.replace("2025-08-01", "2026-08-01").replace("Asia/Shanghai", "Asia/Peking"),
            "zone",
            "no time zone",
        ),
        (
            LAW.replace("2025-08-01", "2026-08-01").replace("[supplement]", "[rules.x]"),
            "rules.x.clock",
            "is not known",
        ),
        (LAW, "effective", "keep one, or change the day"),
        (
            JIANGCHENG
            + f"[limits.use_records]\n{ARTICLE}"
            + "extension = { amount = 1, authority_consents = true, requester_told = true }\n",
            "limits.use_records",
            "cannot be extended",
        ),
        (
            JIANGCHENG + f"[limits.answer_conditional]\n{ARTICLE}extension = {{ amount = -1 }}\n",
            "limits.answer_conditional",
            "extension: amount must be from 1",
        ),
    ],
)
def test_a_pack_file_that_does_not_fit_is_refused_with_file_key_and_remedy(
    tmp_path: Path, text: str, key: str, problem: str
) -> None:
    refused = refusal(tmp_path, text)
    assert refused.key == key
    assert problem in str(refused)


def test_the_number_of_files_is_bounded_and_the_folder_must_be_there(tmp_path: Path) -> None:
    for number in range(101):
        write(tmp_path, "", f"{number}.toml")
    with pytest.raises(ConfigError, match="at most 100"):
        load_packs(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        load_packs(tmp_path / "absent")
