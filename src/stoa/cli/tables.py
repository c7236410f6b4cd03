"""Lists and objects of the API, as a table for people or as JSON for programs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from stoa.cli.asking import Terminal, out, print_json
from stoa.cli.text import at, cell, plain

Columns = Mapping[str, str | Callable[[Any], Any]]
"""Title → where the value stands in a row, or what makes it."""
_wide: Final = Terminal(highlight=False, soft_wrap=True, width=10_000)


def show_list(rows: Sequence[Any], columns: Columns, *, as_json: bool, nothing: str) -> None:
    """`nothing` is said where the list is empty."""
    if as_json:
        print_json(rows)
    elif not rows:
        out.print(nothing, style="dim", markup=False)
    else:
        made = (tuple(cell(_value(row, column)) for column in columns.values()) for row in rows)
        print_table(tuple(columns), made)


def show_one(row: Any, *, as_json: bool, fields: Sequence[str] = ()) -> None:
    """Its fields, one a line: these, or all that are plain."""
    if as_json:
        print_json(row)
        return
    names = fields or [name for name, value in row.items() if not isinstance(value, list | dict)]
    print_table((), [(name, cell(at(row, name))) for name in names if at(row, name) is not None])


def _value(row: Any, column: str | Callable[[Any], Any]) -> Any:
    return at(row, column) if isinstance(column, str) else column(row)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as it needs to be: half of an id is none. Cells are text and never markup. Without titles the
    first column is the title."""
    table = Table(*titles, box=None, show_header=bool(titles), pad_edge=False)
    for row in rows:
        table.add_row(*(Text(" ".join(plain(one).split("\n")), no_wrap=True) for one in row))
    _wide.print(table, width=_wide.measure(table).maximum)
