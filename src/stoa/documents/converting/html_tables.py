"""Merged cells of HTML tables: their text is repeated in each cell that they cover. Runs in the converting process
only."""

from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from stoa.documents.converting.spans import span

CELLS_MAX: Final = 20_000
"""The limit of cells that are added to one document."""


def repeat_merged(tree: LexborHTMLParser) -> None:
    added = 0
    for table in tree.css("table"):
        if table.css_first("[rowspan], [colspan]") is None or len(table.css("table")) > 1:
            continue
        hanging = _Hanging()
        for row in table.css("tr"):
            added += _fill(tree, row, hanging)
            if added > CELLS_MAX:
                return


class _Hanging:
    """Cells that reach into the rows below: by column, the number of rows left, and the text."""

    def __init__(self) -> None:
        self._cells: dict[int, tuple[int, str]] = {}

    def hang(self, column: int, rows: int, text: str) -> None:
        if rows > 0:
            self._cells[column] = (rows, text)

    def take(self, column: int) -> str | None:
        found = self._cells.pop(column, None)
        if found is None:
            return None
        rows, text = found
        self.hang(column, rows - 1, text)
        return text


def _fill(tree: LexborHTMLParser, row: LexborNode, hanging: _Hanging) -> int:
    """Adds the missing cells to a row, and returns how many."""
    column = added = 0
    last: LexborNode | None = None
    below: list[tuple[int, int, str]] = []
    for cell in [one for one in row.iter() if one.tag in ("td", "th")]:
        while (text := hanging.take(column)) is not None:
            cell.insert_before(_cell(tree, text))
            column, added = column + 1, added + 1
        text = cell.text(separator=" ", strip=True)
        across, down = span(cell.attributes.get("colspan")), span(cell.attributes.get("rowspan"))
        for name in ("colspan", "rowspan"):
            if name in cell.attributes:
                del cell.attrs[name]
        below += [(column + number, down - 1, text) for number in range(across)]
        last = cell
        for _ in range(across - 1):
            made = _cell(tree, text)
            last.insert_after(made)
            last = made
        column, added = column + across, added + across - 1
    while last is not None and (text := hanging.take(column)) is not None:
        made = _cell(tree, text)
        last.insert_after(made)
        last, column, added = made, column + 1, added + 1
    for at, rows, text in below:
        hanging.hang(at, rows, text)
    return added


def _cell(tree: LexborHTMLParser, text: str) -> LexborNode:
    made = tree.create_node("td")
    made.insert_child(text)
    return made
