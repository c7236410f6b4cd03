"""Filters over metadata, turned into the terms of the index. Pure.

Every piece of an item's metadata is a term with postings, like a word: equality is one lookup, a comparison a range of
terms. Numbers, strings, moments and booleans each have their own range, so that types never mix. What holds for a list:
a condition on one value holds when it holds for one of its elements; `==` with a list wants the whole list.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import orjson

from stoa.kernel.errors import BadRequest

DEPTH_MAX: Final = 16
CONDITIONS_MAX: Final = 256
VALUES_MAX: Final = 1_000
VALUE_CHARACTERS_MAX: Final = 200
"""Longer strings are compared by these and their hash."""
OPERATORS: Final = ("==", "!=", ">", ">=", "<", "<=", "in", "not in", "contains_any", "contains_all")
_LOGIC: Final = ("AND", "OR", "NOT")
_META: Final = "m"
_SEPARATOR: Final = "\x01"
_EXACT_INTEGER: Final = 2**53


@dataclass(frozen=True, slots=True)
class AnyTerm:
    """Items with one of these terms."""

    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """Items with a term from `low` (inclusive) to `high` (exclusive)."""

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Not:
    part: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """The intersection; without parts everything."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """The union; without parts nothing."""

    parts: tuple["Expression", ...]


Expression: TypeAlias = AnyTerm | Between | Not | And | Or


def leaves(expression: Expression) -> Iterator[AnyTerm | Between]:
    """The terms and ranges whose postings the expression needs."""
    match expression:
        case AnyTerm() | Between():
            yield expression
        case Not(part):
            yield from leaves(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)


# --- metadata to terms ----------------------------------------------------------------------------------------------
def metadata_terms(metadata: Mapping[str, Any]) -> set[str]:
    """Every term that a filter may ask for."""
    found: set[str] = set()
    for key, value in metadata.items():
        _add(found, key, value)
    return found


def _add(found: set[str], path: str, value: Any) -> None:
    if value is None:
        return
    field = _field(path)
    found.add(f"{field}e")
    if isinstance(value, Mapping):
        found.add(field + _whole(value))
        for key, inner in value.items():
            _add(found, f"{path}.{key}", inner)
    elif isinstance(value, list | tuple):
        found.add(field + _whole(value))
        for inner in value:
            if isinstance(inner, Mapping | list | tuple):
                _add(found, path, inner)
            elif inner is not None:
                found.update(field + one for one in _scalar(inner))
    else:
        found.update(field + one for one in _scalar(value))


def existence_term(path: str) -> str:
    """The term of every item that has this field at all."""
    return f"{_field(path)}e"


def string_term(path: str, value: str) -> str:
    """The term of every item whose field is this string, or a list that holds it."""
    return f"{_field(path)}s{_bounded(value)}"


def _field(path: str) -> str:
    return f"{_META}{_bounded(path.replace(_SEPARATOR, ' '))}{_SEPARATOR}"


def _scalar(value: Any) -> list[str]:
    """A value's own term first; a string that is a moment has a second one."""
    if isinstance(value, bool):
        return [f"b{int(value)}"]
    if isinstance(value, int | float):
        return [_number(value)]
    moment = _moment(value)
    return [f"s{_bounded(value)}", *([f"t{_sortable(moment)}"] if moment is not None else [])]


def _number(value: float) -> str:
    exact = f":{value}" if isinstance(value, int) and abs(value) > _EXACT_INTEGER else ""
    return f"n{_sortable(float(value))}{exact}"


def _sortable(value: float) -> str:
    """Sixteen digits that sort as the numbers do."""
    bits = struct.unpack(">Q", struct.pack(">d", value + 0.0))[0]  # + 0.0: minus zero is zero
    return f"{bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63:016x}"


def _moment(value: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 date or time; UTC where it names no zone."""
    if not (len(value) >= 10 and value[4:5] == "-" and value[:4].isdecimal()):
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _whole(value: Any) -> str:
    return f"j{hashlib.sha256(orjson.dumps(_canonical(value), option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_INTEGER:
        return int(value)
    return value


def _bounded(text: str) -> str:
    if len(text) <= VALUE_CHARACTERS_MAX:
        return text
    return text[:VALUE_CHARACTERS_MAX] + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


# --- filters to expressions -----------------------------------------------------------------------------------------
def compiled(given: Mapping[str, Any]) -> Expression:
    """Raises BadRequest naming the path in `filters` and the allowed values."""
    count = [0]
    return _condition(given, "filters", 0, count)


def _condition(given: Any, path: str, depth: int, count: list[int]) -> Expression:
    if not isinstance(given, Mapping):
        raise BadRequest.field(path, "must be an object")
    if depth > DEPTH_MAX:
        raise BadRequest.field(path, f"is nested deeper than {DEPTH_MAX}")
    count[0] += 1
    if count[0] > CONDITIONS_MAX:
        raise BadRequest.field("filters", f"holds more than {CONDITIONS_MAX} conditions")
    if "conditions" in given or given.get("operator") in _LOGIC:
        return _logic(given, path, depth, count)
    if "field" in given and "operator" in given:
        return _comparison(given, path)
    if "operator" in given and "value" in given:
        raise BadRequest.field(f"{path}.field", "is missing: it names the metadata to compare")
    return And(tuple(_shorthand(key, value, path, count) for key, value in given.items()))


def _shorthand(key: str, value: Any, path: str, count: list[int]) -> Expression:
    count[0] += 1
    if isinstance(value, Mapping):
        raise BadRequest.field(f"{path}.{key}", "must be a value or a list; a comparison is {field, operator, value}")
    return _compare(_name(key), "in" if isinstance(value, list) else "==", value, f"{path}.{key}")


def _logic(given: Mapping[str, Any], path: str, depth: int, count: list[int]) -> Expression:
    operator, conditions = given.get("operator"), given.get("conditions")
    _known(given, ("operator", "conditions"), path)
    if operator not in _LOGIC:
        raise BadRequest.field(
            f"{path}.operator", f"must be one of {', '.join(_LOGIC)} where there are conditions, not {operator!r}"
        )
    if not isinstance(conditions, list) or not conditions:
        raise BadRequest.field(f"{path}.conditions", "must be a list with at least one condition")
    parts = tuple(
        _condition(one, f"{path}.conditions[{index}]", depth + 1, count) for index, one in enumerate(conditions)
    )
    if operator == "OR":
        return Or(parts)
    return And(parts) if operator == "AND" else Not(And(parts))


def _comparison(given: Mapping[str, Any], path: str) -> Expression:
    _known(given, ("field", "operator", "value"), path)
    field, operator = given["field"], given["operator"]
    if not isinstance(field, str) or not _name(field):
        raise BadRequest.field(f"{path}.field", "must name a field of the metadata")
    if operator not in OPERATORS:
        raise BadRequest.field(
            f"{path}.operator", f"must be one of {', '.join((*OPERATORS, *_LOGIC))}, not {operator!r}"
        )
    if "value" not in given:
        raise BadRequest.field(f"{path}.value", "is missing")
    return _compare(_name(field), operator, given["value"], f"{path}.value")


def _known(given: Mapping[str, Any], names: tuple[str, ...], path: str) -> None:
    """Refuses other keys, because they would be a condition that is not applied."""
    for other in given:
        if other not in names:
            raise BadRequest.field(f"{path}.{other}", f"is not known here; beside it stand {', '.join(names)}")


def _name(field: str) -> str:
    return field.removeprefix("metadata.")


def _compare(field: str, operator: str, value: Any, path: str) -> Expression:
    if "\x00" in field or (isinstance(value, str) and "\x00" in value):
        raise BadRequest.field(path, "cannot hold the character NUL")
    if operator in ("==", "!="):
        found = _equals(field, value)
        return found if operator == "==" else Not(found)
    if operator in (">", ">=", "<", "<="):
        return _range(field, operator, value, path)
    if not isinstance(value, list):
        raise BadRequest.field(path, f"must be a list for {operator}")
    if len(value) > VALUES_MAX:
        raise BadRequest.field(path, f"holds more than {VALUES_MAX} values")
    each = tuple(_equals(field, one) for one in value)
    if operator == "contains_all":
        return And(each)
    return Not(_any(each)) if operator == "not in" else _any(each)


def _any(parts: tuple[Expression, ...]) -> Expression:
    """The lookups of many values are one."""
    terms = tuple(term for part in parts if isinstance(part, AnyTerm) for term in part.terms)
    others = tuple(part for part in parts if not isinstance(part, AnyTerm))
    return Or((AnyTerm(terms), *others)) if others else AnyTerm(terms)


def _equals(field: str, value: Any) -> Expression:
    name = _field(field)
    if value is None:
        return Not(AnyTerm((f"{name}e",)))
    if isinstance(value, Mapping | list):
        return AnyTerm((name + _whole(value),))
    return AnyTerm((name + _scalar(value)[0],))


def _range(field: str, operator: str, value: Any, path: str) -> Expression:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadRequest.field(path, f"must be a number or a string for {operator}")
    own = _scalar(value)
    edge = _field(field) + (own[-1] if own[-1][0] == "t" else own[0].partition(":")[0] if own[0][0] == "n" else own[0])
    kind = _field(field) + own[-1][0]
    # What equals the edge starts with it, and nothing else of its kind does where the edge is sixteen digits; strings
    # end at once.
    behind = edge + (_SEPARATOR if kind[-1] == "s" else ";")
    match operator:
        case ">":
            return Between(behind, _after(kind))
        case ">=":
            return Between(edge, _after(kind))
        case "<":
            return Between(kind, edge)
        case _:
            return Between(kind, behind)


def _after(kind: str) -> str:
    return kind[:-1] + chr(ord(kind[-1]) + 1)
