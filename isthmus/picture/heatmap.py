"""The heat map as SVG: a row gives, a column receives, and what is empty leaps to the eye."""

from collections.abc import Iterator
from html import escape
from typing import Final

from isthmus.picture import words as w
from isthmus.picture.sheet import Cell, Sheet, compact, shortened, text_width
from isthmus.picture.words import Lang, Word

WIDTH: Final = 1040
_LABELS: Final = 250
_BARS: Final = 140
_HEAD: Final = 160
_ROOM: Final = 10
"""Between a name and its row or column."""
_ROW_TYPE, _COLUMN_TYPE, _TINY_TYPE = 13, 12, 10
"""Sizes of type, as in style.css."""
_FOOT: Final = 8
_LARGEST, _SMALLEST = 64, 10
_WITH_NUMBER: Final = 30
"""A cell of so many pixels has room for its number."""
_WITH_NAME: Final = 34
"""A column of so many pixels has room for a slanted name; narrower ones have the number of their row."""
_SLANT: Final = 48
"""Degrees."""
_SLANTED: Final = 180
"""How long a slanted name may be, to stay under the head."""
_WORDS: Final = {
    Cell.NONE: w.NONE,
    Cell.UNUSED: w.UNUSED,
    Cell.REFUSED: w.REFUSED_ONLY,
    Cell.ITSELF: w.ITSELF,
}
_SIGNS: Final = {Cell.UNUSED: "0", Cell.REFUSED: "×"}
_SILO_WIDTH: Final = 70


def heatmap(sheet: Sheet, lang: Lang) -> str:
    """Returns the `<svg>` element, at most `WIDTH` pixels wide.

    Args:
        sheet: what is drawn.
        lang: of its words.
    """
    count = len(sheet.departments)
    size = max(_SMALLEST, min(_LARGEST, (WIDTH - _LABELS - _BARS) // max(count, 1)))
    head = _HEAD if size >= _WITH_NAME else 30
    wide, high = _LABELS + count * size + _BARS, head + count * size + _FOOT
    title = escape(w.MAP.plain(lang))
    described = escape(w.MAP_NOTE.plain(lang))
    opening = (
        f'<svg class="map" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-labelledby="map-title map-desc" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="map-title">{title}</title><desc id="map-desc">{described}</desc>'
    )
    parts = [
        opening,
        _PATTERNS,
        *_columns(sheet, size, head),
        *_rows(sheet, lang, size, head),
        *_axes(lang, count, size, head),
        "</svg>",
    ]
    return "".join(parts)


_PATTERNS: Final = (
    '<defs><pattern id="none" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="none-ground" width="6" height="6"/><rect class="none-line" width="2" height="6"/></pattern></defs>'
)


def _columns(sheet: Sheet, size: int, head: int) -> Iterator[str]:
    for number in range(len(sheet.departments)):
        x, y = _LABELS + number * size + size // 2, head - 10
        if size >= _WITH_NAME:
            name = _label(sheet, number, _SLANTED, size=_COLUMN_TYPE)
            yield f'<text class="col" transform="translate({x + 4} {y}) rotate(-{_SLANT})">{name}</text>'
        else:
            yield f'<text class="tiny" x="{x}" y="{y}" text-anchor="middle">{number + 1}</text>'


def _rows(sheet: Sheet, lang: Lang, size: int, head: int) -> Iterator[str]:
    for number, each in enumerate(sheet.departments):
        top = head + number * size
        middle = top + size // 2 + 4
        full = escape(sheet.title(each.department))
        kind, letters = ("row", _ROW_TYPE) if size > _ROW_TYPE else ("tiny", _TINY_TYPE)
        name = _label(sheet, number, _LABELS - _ROOM, size=letters)
        yield f'<text class="{kind}" x="{_LABELS - _ROOM}" y="{middle}" text-anchor="end">'
        yield f"<title>{full}</title>{name}</text>"
        for column, other in enumerate(sheet.departments):
            yield from _cell(
                sheet,
                lang,
                (each.department, other.department),
                box=(_LABELS + column * size, top, size),
            )
        yield from _silo(each.silo_index if each.HasField("silo_index") else None, sheet, size, top)


def _label(sheet: Sheet, number: int, most: float, *, size: int) -> str:
    """The number and name of a department, of at most so many pixels."""
    count = f"{number + 1}. "
    title = sheet.title(sheet.departments[number].department)
    return count + escape(shortened(title, most - text_width(count, size), size=size))


def _cell(sheet: Sheet, lang: Lang, pair: tuple[str, str], *, box: tuple[int, int, int]) -> Iterator[str]:
    x, y, size = box
    kind, allowed = sheet.cell(*pair), sheet.allowed(*pair)
    said = Word(f"{allowed:,}", f"{allowed:,}") if kind is Cell.SHARED else _WORDS[kind]
    arrow = f"{sheet.title(pair[0])} → {sheet.title(pair[1])}: {said.plain(lang)}"
    shade = f" s{sheet.shade(allowed)}" if kind is Cell.SHARED else ""
    gap = 2 if size >= _WITH_NAME else 1
    yield f'<g class="cell {kind.value}{shade}" data-provider="{escape(pair[0])}" '
    yield f'data-consumer="{escape(pair[1])}" data-allowed="{allowed}"><title>{escape(arrow)}</title>'
    yield f'<rect x="{x + gap}" y="{y + gap}" width="{size - 2 * gap}" height="{size - 2 * gap}" rx="{2 * gap}"/>'
    text = compact(allowed) if kind is Cell.SHARED else _SIGNS.get(kind, "")
    if text and size >= _WITH_NUMBER:
        yield f'<text x="{x + size // 2}" y="{y + size // 2 + 4}" text-anchor="middle">{text}</text>'
    yield "</g>"


def _silo(index: float | None, sheet: Sheet, size: int, top: int) -> Iterator[str]:
    left = _LABELS + len(sheet.departments) * size + 14
    high = max(6, min(14, size - 4))
    y = top + (size - high) // 2
    yield f'<rect class="bar" x="{left}" y="{y}" width="{_SILO_WIDTH}" height="{high}" rx="2"/>'
    if index is not None and index > 0:
        wide = max(2, round(_SILO_WIDTH * index))
        yield f'<rect class="bar-full" x="{left}" y="{y}" width="{wide}" height="{high}" rx="2"/>'
    text = "–" if index is None else f"{index:.0%}"
    yield f'<text class="tiny" x="{left + _SILO_WIDTH + 6}" y="{top + size // 2 + 4}">{text}</text>'


def _axes(lang: Lang, count: int, size: int, head: int) -> Iterator[str]:
    corner = f"{w.GIVES.plain(lang)} ↓　{w.RECEIVES.plain(lang)} →"
    y = head - _ROOM
    yield f'<text class="axis" x="{_LABELS - _ROOM}" y="{y}" text-anchor="end">{corner}</text>'
    yield f'<text class="axis" x="{_LABELS + count * size + 14}" y="{y}">{w.SILO.plain(lang)}</text>'
