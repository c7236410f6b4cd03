"""Prints lists and objects of the API as tables for people or as JSON for programs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from stoa.cli.asking import Terminal, out, print_json
from stoa.cli.text import at, cell, plain

Columns = Mapping[str, str | Callable[[Any], Any]]
"""Title → path of the value in a row, or a function that computes it."""
_wide: Final = Terminal(highlight=False, soft_wrap=True, width=10_000)


def show_list(rows: Sequence[Any], columns: Columns, *, as_json: bool, nothing: str) -> None:
    """Prints `nothing` if the list is empty."""
    if as_json:
        print_json(rows)
    elif not rows:
        out.print(nothing, style="dim", markup=False)
    else:
        made = (tuple(cell(_value(row, column)) for column in columns.values()) for row in rows)
        print_table(tuple(columns), made)


def show_one(row: Any, *, as_json: bool, fields: Sequence[str] = ()) -> None:
    """Prints one field per line: `fields`, or else all fields with simple values."""
    if as_json:
        print_json(row)
        return
    names = fields or [name for name, value in row.items() if not isinstance(value, list | dict)]
    print_table((), [(name, cell(at(row, name))) for name in names if at(row, name) is not None])


def _value(row: Any, column: str | Callable[[Any], Any]) -> Any:
    return at(row, column) if isinstance(column, str) else column(row)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table as wide as needed, because a truncated id is useless. Cells are never parsed as markup. Without
    titles the first column has the titles."""
    table = Table(*titles, box=None, show_header=bool(titles), pad_edge=False)
    for row in rows:
        table.add_row(*(Text(" ".join(plain(one).split("\n")), no_wrap=True) for one in row))
    _wide.print(table, width=_wide.measure(table).maximum)
