"""The scorecard as an HTML table: a line for each department, and one for all of them."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from isthmus.picture import words as w
from isthmus.picture.sheet import Sheet
from isthmus.picture.words import Lang, Word
from isthmus.v1.sharing_service_pb2 import DepartmentSharing

Said = Callable[[Word, Lang], str]

_Groups = Sequence[tuple[Word, Sequence[Word]]]

_TABLES: Sequence[tuple[Word, _Groups]] = (
    (
        w.OFFERS,
        (
            (w.DATASETS, (w.OFFERED, w.AGREED, w.USED, w.SILO)),
            (w.ANSWERS, (w.IN_TIME, w.LATE, w.NEVER, w.WAITING, w.WORKDAYS)),
        ),
    ),
    (
        w.FLOWS,
        (
            (w.EXCHANGES, (w.ALLOWED, w.DENIED, w.FAILED)),
            (w.WEAK, tuple(w.WEAK_KINDS.values())),
            (w.RECEIVED, (w.TIMES, w.AVOIDED)),
        ),
    ),
)


def scorecard(sheet: Sheet, lang: Lang, said: Said) -> Iterator[str]:
    """Yields the `<table>` elements.

    Args:
        sheet: what is shown.
        lang: of its words.
        said: makes HTML of words.
    """
    for caption, groups, shown in tables():
        rows = [
            f'<tr><th scope="row">{number}. {escape(sheet.title(each.department))}</th>{_cells(each, shown)}</tr>'
            for number, each in enumerate(sheet.departments, 1)
        ]
        total = f'<tr><th scope="row">{said(w.ALL, lang)}</th>{_cells(sheet.report.overall, shown)}</tr>'
        yield (
            f"<table><caption>{said(caption, lang)}</caption><thead>{_head(groups, lang, said)}</thead>"
            f"<tbody>{''.join(rows)}</tbody><tfoot>{total}</tfoot></table>"
        )


def _head(groups: _Groups, lang: Lang, said: Said) -> str:
    over = "".join(
        f'<th scope="colgroup" colspan="{len(columns)}">{said(group, lang)}</th>' for group, columns in groups
    )
    columns = "".join(f'<th scope="col">{said(each, lang)}</th>' for _, columns in groups for each in columns)
    return f'<tr><th scope="col" rowspan="2">{said(w.DEPARTMENT, lang)}</th>{over}</tr><tr>{columns}</tr>'


def tables() -> Iterator[tuple[Word, _Groups, slice]]:
    """Yields the caption of each table, its columns in groups, and which of the figures it shows."""
    first = 0
    for caption, groups in _TABLES:
        shown = slice(first, first + sum(len(columns) for _, columns in groups))
        first = shown.stop
        yield caption, groups, shown


def figures(each: DepartmentSharing) -> Iterator[tuple[str, bool]]:
    """The figures of a line in the order of its columns, and whether each is something to be ashamed of."""
    answers, weak = each.answers, each.weak
    yield f"{each.datasets_offered:,}", False
    yield f"{each.datasets_under_contract:,}", False
    yield f"{each.datasets_used:,}", bool(each.datasets_offered and not each.datasets_used)
    silo = each.silo_index if each.HasField("silo_index") else None
    yield ("–" if silo is None else f"{silo:.0%}"), silo is not None and silo > 0.5
    yield f"{answers.in_time:,}", False
    yield f"{answers.late:,}", answers.late > 0
    yield f"{answers.never:,}", answers.never > 0
    yield f"{answers.waiting:,}", False
    yield (f"{answers.median_workdays:g}" if answers.HasField("median_workdays") else "–"), False
    yield f"{each.allowed:,}", False
    yield f"{each.denied:,}", False
    yield f"{each.failed:,}", each.failed > 0
    for kind in w.WEAK_KINDS:
        yield f"{getattr(weak, kind):,}", getattr(weak, kind) > 0
    yield f"{each.answers_received:,}", False
    yield f"{each.collections_avoided:,}", False


def _cells(each: DepartmentSharing, shown: slice) -> str:
    cells = []
    for text, bad in list(figures(each))[shown]:
        kind = ' class="bad"' if bad else ' class="nil"' if text in ("0", "–") else ""
        cells.append(f"<td{kind}>{text}</td>")
    return "".join(cells)
