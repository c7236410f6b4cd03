"""Evaluates the conditions of a Choice and of an edge, like the platform's library. Pure."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from stoa.kernel import schemas
from stoa.kernel.json_paths import PathError, compiled, is_rooted
from stoa.runs.workflow.nodes.node import Condition

DEPTH_MAX: Final = 8
VALUE_CHARACTERS_MAX: Final = 10_000
"""The longest text that a regular expression is matched against."""
PATH: Final = "-path"
"""The suffix of operators whose `value` is a path into the evaluated value, instead of a literal."""
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "greater-than": operator.gt,
    "greater-than-or-equals": operator.ge,
    "less-than": operator.lt,
    "less-than-or-equals": operator.le,
}


class ConditionError(Exception):
    """A condition that cannot be evaluated on this value: no branch may be taken or skipped by mistake."""


def holds(condition: Condition, data: Any) -> bool:
    """Raises ConditionError."""
    try:
        value = compiled(condition.variable).one(data) if condition.variable else data
        return _judged(condition, value, data) is not condition.is_not
    except PathError as error:
        raise ConditionError(f"variable {error}") from error


def problem(condition: Condition, depth: int = 1) -> str | None:
    """Why a condition can never be evaluated; the sentence continues after its name."""
    if depth > DEPTH_MAX:
        return f"is nested deeper than {DEPTH_MAX} levels"
    for name, path in (("variable", condition.variable), ("value", condition.value)):
        if name == "value" and not condition.operator.endswith(PATH):
            continue
        if name == "value" and not (isinstance(path, str) and is_rooted(path)):
            return f"has the value {path!r}, and {condition.operator} wants a path such as $.limit"
        try:
            compiled(path) if path else None
        except PathError as error:
            return f"has a {name} that {error}"
    if condition.operator == "string-regexp":
        expression = str(condition.value)
        if (why := schemas.expression_problem(expression)) is not None:
            return f"has the value {expression[:100]!r}, which {why}"
    if condition.operator in ("and", "or") and not condition.operands:
        return f"is {condition.operator} without operands"
    return next((why for one in condition.operands if (why := problem(one, depth + 1))), None)


def costly(condition: Condition) -> bool:
    """Whether evaluating it may take long: it reads many values, or matches a regular expression."""
    paths = [condition.variable, condition.value if condition.operator.endswith(PATH) else None]
    return (
        condition.operator == "string-regexp"
        or any(not compiled(str(path)).cheap for path in paths if path)
        or any(costly(one) for one in condition.operands)
    )


def _judged(condition: Condition, value: Any, data: Any) -> bool:
    name, wanted = condition.operator, condition.value
    if name in ("and", "or"):
        return (all if name == "and" else any)(holds(one, value) for one in condition.operands)
    if name.endswith(PATH):
        found = compiled(str(wanted)).all(data)
        if len(found) != 1:
            raise ConditionError(f"value {wanted!r} finds {len(found)} values where one is wanted")
        name, wanted = name.removesuffix(PATH), found[0]
    _, _, test = name.partition("-")
    if test == "equals":
        return _equal(value, wanted)
    if test in _ORDERS:
        try:
            return _ORDERS[test](value, wanted)
        except TypeError as error:
            kinds = f"{_kind(value)} and {_kind(wanted)}"
            raise ConditionError(f"{condition.variable or '$'} {name}: {kinds} have no order") from error
    return _text_test(test, str(value), str(wanted))


def _equal(value: Any, wanted: Any) -> bool:
    """True is not equal to 1: the platform's forms distinguish numbers and booleans."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _text_test(test: str, value: str, wanted: str) -> bool:
    if test == "starts-with":
        return value.startswith(wanted)
    if test == "ends-with":
        return value.endswith(wanted)
    if test == "contains":
        return wanted in value
    if len(value) > VALUE_CHARACTERS_MAX:
        raise ConditionError(f"a text of {len(value)} characters is too long for a regular expression")
    return schemas.matches(wanted, value)


def _kind(value: Any) -> str:
    return {type(None): "nothing", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}.get(
        type(value), "a number"
    )
