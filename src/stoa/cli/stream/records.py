# Written by tools/clients/carried.py from clients/python/src/stoa_client/records.py; change that.
"""JSON objects with attributes. Fields that a class does not declare are in `record["field"]` and `record.raw`."""

import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

Convert = Callable[[Any], Any]


class Record:
    """An object of the API. A field that the server left out is None. `raw` is exactly what the server sent, including
    fields that this version does not know.
    """

    raw: Mapping[str, Any]

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        for name, convert in fields_of(type(self)):
            value = raw.get(name)
            setattr(self, name, convert(value) if convert is not None and value is not None else value)

    def __getitem__(self, name: str) -> Any:
        return self.raw[name]

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def get(self, name: str, default: Any = None) -> Any:
        return self.raw.get(name, default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(self) is type(other) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={self.raw[name]!r}" for name in self.raw)
        return f"{type(self).__name__}({named})"


@cache
def fields_of(of: type[Record]) -> tuple[tuple[str, Convert | None], ...]:
    """The declared fields of a class, each with the function that converts its JSON, or None if there is nothing to
    convert."""
    return tuple((name, converter(hint)) for name, hint in get_type_hints(of).items() if name != "raw")


def converter(hint: Any) -> Convert | None:
    if isinstance(hint, type) and issubclass(hint, Record):
        return partial(_record, hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = [one for one in map(converter, arguments) if one is not None]
        return found[0] if len(found) == 1 else None
    if origin is list and (inner := converter(arguments[0])) is not None:
        return partial(_list, inner)
    if origin is dict and (inner := converter(arguments[1])) is not None:
        return partial(_mapping, inner)
    return None


# Values of an unexpected shape are passed through, because a newer server must not cause errors.
def _record(of: type[Record], value: Any) -> Any:
    return of(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownArgumentType]


def _list(inner: Convert, value: Any) -> Any:
    return [inner(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def _mapping(inner: Convert, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: inner(one) for name, one in cast("Mapping[str, Any]", value).items()}
