"""The arguments of the statements that start or end several runs at once, made from those of single ones."""

from collections.abc import Collection, Sequence

import orjson


def joined_columns(calls: Sequence[Sequence[object]], first_event: int, json: Collection[int]) -> Sequence[object]:
    """A list for each argument of a single call, then the events of all calls.

    The arguments from `first_event` on are lists with an entry per event; before them goes a list with the number of
    the call that each event belongs to, from 1. The arguments in `json` are passed as text, because a list of lists
    would become a two-dimensional array.
    """
    columns: list[object] = []
    for place, column in enumerate(zip(*(call[:first_event] for call in calls), strict=True)):
        columns.append([_as_text(value) for value in column] if place in json else list(column))
    numbers: list[int] = []
    events: tuple[list[object], list[object], list[object]] = ([], [], [])
    for number, call in enumerate(calls, 1):
        for kept, values in zip(events, call[first_event:], strict=True):
            assert isinstance(values, list)
            kept.extend(values)
        numbers += [number] * (len(events[0]) - len(numbers))
    return [*columns, numbers, *events]


def _as_text(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
