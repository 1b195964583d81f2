"""The picture as one HTML file: no script, no network, nothing beside it."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources
from typing import Final

from isthmus.picture import words as w
from isthmus.picture.heatmap import heatmap
from isthmus.picture.reasons import reason_word
from isthmus.picture.scorecard import scorecard
from isthmus.picture.sheet import STEPS, Sheet
from isthmus.picture.words import Lang, Word
from isthmus.v1.common_pb2 import SharingClass
from isthmus.v1.sharing_service_pb2 import DatasetSharing, ReportSharingResponse, SharingReason

_MOST_ISLANDS: Final = 8
_MOST_IDLE: Final = 12
"""How many unused datasets of a department are named."""
_COMMAND: Final = "isthmus report recompute LEDGER --vkey log.pub --first-day {first} --last-day {last}"


def page(report: ReportSharingResponse, titles: Mapping[str, str], *, lang: Lang = Lang.BOTH) -> str:
    """Returns the whole document.

    Args:
        report: the figures.
        titles: what a reader calls departments and datasets, by their names.
        lang: English, Chinese or both.
    """
    sheet = Sheet.of(report, titles)
    css = resources.files("isthmus.picture").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    body = "\n".join(_body(sheet, lang))
    return (
        f'<!doctype html>\n<html lang="{"zh" if lang is Lang.ZH else "en"}">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(w.TITLE.plain(lang))} {report.first_day} – {report.last_day}</title>\n"
        f"<style>{css}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def said(word: Word, lang: Lang) -> str:
    """Words as HTML, each in its language."""
    spans = {
        Lang.EN: f'<span lang="en">{escape(word.en)}</span>',
        Lang.ZH: f'<span lang="zh">{escape(word.zh)}</span>',
    }
    return spans[lang] if lang is not Lang.BOTH else f"{spans[Lang.EN]} {spans[Lang.ZH]}"


def _body(sheet: Sheet, lang: Lang) -> Iterator[str]:
    report = sheet.report
    period = w.PERIOD.filled(first=report.first_day, last=report.last_day)
    yield f"<header><h1>{said(w.TITLE, lang)}</h1>"
    yield f'<p class="period">{said(period, lang)}</p></header>\n<main>'
    if not sheet.departments:
        yield f'<p class="finding">{said(w.NOBODY, lang)}</p></main>'
        yield from _footer(report, lang)
        return
    yield from _finding(sheet, lang)
    yield f"<section><h2>{said(w.MAP, lang)}</h2>"
    yield f'<p class="note">{said(w.MAP_NOTE, lang)} {said(w.SILO_NOTE, lang)}</p>'
    yield f'<div class="scroll">{heatmap(sheet, lang)}</div>'
    yield f'<ul class="legend">{"".join(_legend(lang))}</ul></section>'
    yield f"<section><h2>{said(w.SCORECARD, lang)}</h2>"
    for table in scorecard(sheet, lang, said):
        yield f'<div class="scroll">{table}</div>'
    yield "</section>"
    yield from _reasons(sheet, lang)
    yield from _idle(sheet, lang)
    yield "</main>"
    yield from _footer(report, lang)


def _finding(sheet: Sheet, lang: Lang) -> Iterator[str]:
    overall = sheet.report.overall
    finding = w.FINDING.filled(
        sharing=sheet.sharing,
        possible=sheet.possible,
        offered=overall.datasets_offered,
        unused=overall.datasets_offered - overall.datasets_used,
    )
    yield f'<p class="finding">{said(finding, lang)}</p>'
    if sheet.islands:
        yield f'<p class="islands">{said(sheet.islands_word(_MOST_ISLANDS), lang)}</p>'
    else:
        yield f'<p class="note">{said(w.NO_ISLANDS, lang)}</p>'


def _legend(lang: Lang) -> Iterator[str]:
    samples = (("none", w.NONE, ""), ("refused", w.REFUSED_ONLY, "×"), ("unused", w.UNUSED, "0"))
    for kind, word, sign in samples:
        yield f'<li><svg width="22" height="22" aria-hidden="true"><g class="cell {kind}">'
        yield f'<rect x="1" y="1" width="20" height="20" rx="4"/><text x="11" y="15" text-anchor="middle">{sign}</text>'
        yield f"</g></svg>{said(word, lang)}</li>"
    boxes = "".join(
        f'<g class="cell s{step}"><rect x="{(step - 1) * 22 + 1}" y="1" width="20" height="20" rx="4"/></g>'
        for step in range(1, STEPS + 1)
    )
    yield f'<li>{said(w.FEW, lang)}<svg width="{STEPS * 22}" height="22" aria-hidden="true">{boxes}</svg>'
    yield f"{said(w.MANY, lang)}</li>"


def _reasons(sheet: Sheet, lang: Lang) -> Iterator[str]:
    overall = sheet.report.overall
    yield f'<section><h2>{said(w.REASONS, lang)}</h2><div class="two">'
    for word, reasons in ((w.REJECTIONS, overall.answers.rejections), (w.DENIALS, overall.denials)):
        yield f"<div><h3>{said(word, lang)}</h3>{_list_of(reasons, lang)}</div>"
    yield "</div></section>"


def _list_of(reasons: Iterable[SharingReason], lang: Lang) -> str:
    lines = [f"<li><b>{each.count:,}</b> {said(reason_word(each.reason), lang)}</li>" for each in reasons]
    if not lines:
        return f'<p class="note">{said(w.NO_REASONS, lang)}</p>'
    return f'<ul class="plain">{"".join(lines)}</ul>'


def _idle(sheet: Sheet, lang: Lang) -> Iterator[str]:
    if not sheet.idle:
        return
    yield f'<section><h2>{said(w.IDLE, lang)}</h2><dl class="idle">'
    for department, datasets in sheet.idle.items():
        names = [_dataset(sheet, each, lang) for each in datasets[:_MOST_IDLE]]
        if len(datasets) > _MOST_IDLE:
            more = w.MORE.filled(count=len(datasets) - _MOST_IDLE)
            names.append(f'<span class="note">{said(more, lang)}</span>')
        yield f"<div><dt>{escape(sheet.title(department))} <b>{len(datasets):,}</b></dt>"
        yield f"<dd>{' · '.join(names)}</dd></div>"
    yield "</dl></section>"


def _dataset(sheet: Sheet, each: DatasetSharing, lang: Lang) -> str:
    title = escape(sheet.titles.get(each.dataset) or each.dataset.rpartition("/")[2])
    if each.sharing_class != SharingClass.SHARING_CLASS_REFUSED:
        return title
    return f'{title} <span class="note">({said(w.CLASS_REFUSED, lang)})</span>'


def _footer(report: ReportSharingResponse, lang: Lang) -> Iterator[str]:
    as_of = report.as_of.ToJsonString() if report.HasField("as_of") else report.last_day
    source = w.SOURCE.filled(size=f"{report.log_size:,}", as_of=as_of)
    command = _COMMAND.format(first=report.first_day, last=report.last_day)
    yield f"<footer><p>{said(source, lang)}</p>"
    yield f"<p>{said(w.ROOT, lang)} <code>{report.root_hash.hex()}</code></p>"
    yield f"<p>{said(w.CONTEST, lang)} <code>{escape(command)}</code></p></footer>"
