"""The picture on a terminal: the heat map as a grid of blocks, and the scorecard as a table."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.picture import words as w
from isthmus.picture.scorecard import figures, tables
from isthmus.picture.sheet import Cell, Sheet, compact
from isthmus.picture.words import Lang
from isthmus.v1.sharing_service_pb2 import DepartmentSharing, ReportSharingResponse

_SIGNS: Final = {
    Cell.ITSELF: Text("·", style="dim"),
    Cell.NONE: Text("░░░", style="bold red"),
    Cell.UNUSED: Text("0", style="yellow"),
    Cell.REFUSED: Text("×", style="red"),
}
_SHADES: Final = (
    "black on #d3e9e3",
    "black on #a3d1c6",
    "black on #5fae9e",
    "white on #1f7a6c",
    "white on #0b4a42",
)
_MOST_ISLANDS: Final = 8
_PIPED_WIDTH: Final = 150
_MAP_NAME: Final = 38
_CARD_NAME: Final = 28
"""How many columns the name of a department takes."""


def show(
    report: ReportSharingResponse,
    titles: Mapping[str, str],
    *,
    lang: Lang = Lang.BOTH,
    console: Console | None = None,
) -> None:
    """Writes the picture.

    Args:
        report: the figures.
        titles: what a reader calls departments and datasets, by their names.
        lang: English, Chinese or both.
        console: where to; standard output unless given.
    """
    out = console or _console()
    sheet = Sheet.of(report, titles)
    period = w.PERIOD.filled(first=report.first_day, last=report.last_day)
    out.print(Text(f"{w.TITLE.plain(lang)}  {period.plain(Lang.EN)}", style="bold"))
    if not sheet.departments:
        out.print(w.NOBODY.plain(lang))
        return
    overall = report.overall
    finding = w.FINDING.filled(
        sharing=sheet.sharing,
        possible=sheet.possible,
        offered=overall.datasets_offered,
        unused=overall.datasets_offered - overall.datasets_used,
    )
    for words in (
        (finding.en,) if lang is Lang.EN else (finding.zh,) if lang is Lang.ZH else (finding.en, finding.zh)
    ):
        out.print(Text(words))
    if sheet.islands:
        islands = sheet.islands_word(_MOST_ISLANDS)
        for line in {Lang.EN: (islands.en,), Lang.ZH: (islands.zh,)}.get(lang, (islands.en, islands.zh)):
            out.print(Text(f"⚠ {line}", style="bold red"))
    out.print(_map(sheet, lang))
    legend = f"░░░ {w.NONE.plain(lang)}   0 {w.UNUSED.plain(lang)}   × {w.REFUSED_ONLY.plain(lang)}"
    out.print(Text(legend, style="dim"))
    for table in _scorecards(sheet, lang):
        out.print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def _map(sheet: Sheet, lang: Lang) -> Table:
    table = Table(title=w.MAP.plain(lang), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{w.GIVES.plain(lang)} ↓ {w.RECEIVES.plain(lang)} →", no_wrap=True)
    for number, _ in enumerate(sheet.departments, 1):
        table.add_column(str(number), justify="center")
    table.add_column(w.SILO.plain(lang), no_wrap=True)
    for number, each in enumerate(sheet.departments, 1):
        cells = [_cell(sheet, each.department, other.department) for other in sheet.departments]
        name = _name(sheet, number, _MAP_NAME)
        table.add_row(name, *cells, _bar(each.silo_index if each.HasField("silo_index") else None))
    return table


def _name(sheet: Sheet, number: int, most: int) -> Text:
    name = Text(f"{number}. {sheet.title(sheet.departments[number - 1].department)}")
    name.truncate(most, overflow="ellipsis")
    return name


def _cell(sheet: Sheet, provider: str, consumer: str) -> Text:
    kind = sheet.cell(provider, consumer)
    if kind is not Cell.SHARED:
        return _SIGNS[kind]
    allowed = sheet.allowed(provider, consumer)
    return Text(f" {compact(allowed)} ", style=_SHADES[sheet.shade(allowed) - 1])


def _bar(index: float | None) -> Text:
    if index is None:
        return Text("–", style="dim")
    full = round(index * 10)
    return Text(f"{'█' * full}{'░' * (10 - full)} {index:.0%}", style="red" if index > 0.5 else "")


def _scorecards(sheet: Sheet, lang: Lang) -> Iterator[Table]:
    short = Lang.EN if lang is Lang.BOTH else lang
    for caption, groups, shown in tables():
        table = Table(title=caption.plain(lang), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column(w.DEPARTMENT.plain(short), no_wrap=True)
        for _, columns in groups:
            for column in columns:
                table.add_column(column.plain(short), justify="right")
        for number, each in enumerate(sheet.departments, 1):
            table.add_row(_name(sheet, number, _CARD_NAME), *_figures(each, shown))
        table.add_section()
        total = Text(w.ALL.plain(short), style="bold")
        table.add_row(total, *_figures(sheet.report.overall, shown))
        yield table


def _figures(each: DepartmentSharing, shown: slice) -> list[Text]:
    return [Text(text, style="bold red" if bad else "") for text, bad in list(figures(each))[shown]]
