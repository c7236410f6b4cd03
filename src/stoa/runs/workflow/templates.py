"""Texts with `{{field}}` in them: a prompt, a role, a question to a person. Pure.

Only names stand between the braces, with dots for what lies deeper (`{{user.name}}`, `{{items.0}}`). There are no
loops, conditions or filters, so a text costs what its length says.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

CHARACTERS_MAX: Final = 2_000_000
"""Of a filled text."""
_FIELD: Final = re.compile(r"\{\{\s*([\w-]+(?:\.[\w-]+)*)\s*\}\}")
_OTHER: Final = re.compile(r"\{%|\{\{(?!\s*[\w-]+(?:\.[\w-]+)*\s*\}\})")
MISSING: Final = object()


def problem(text: str) -> str | None:
    """Why a text is no template that is filled here, or None; the sentence goes on from the field's name."""
    if (found := _OTHER.search(text)) is None:
        return None
    return (
        f"holds {text[found.start() : found.start() + 30]!r}; only names stand between {{{{ and }}}}, as {{{{query}}}}"
    )


def fields_of(text: str) -> Sequence[str]:
    """The fields that it wants, by their first name."""
    return list(dict.fromkeys(found.partition(".")[0] for found in _FIELD.findall(text)))


def missing(text: str, fields: Mapping[str, Any]) -> Sequence[str]:
    return [name for name in fields_of(text) if name not in fields]


def filled(text: str, fields: Mapping[str, Any]) -> str:
    """A field that is not there leaves its place as it is. Values are put in once: what they hold is not filled."""
    return _FIELD.sub(lambda found: _text(_value(fields, found[1]), found[0]), text)


def _value(fields: Any, name: str) -> Any:
    value = fields
    for part in name.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            return MISSING
    return value


def _text(value: Any, otherwise: str) -> str:
    return otherwise if value is MISSING else as_text(value)


def as_text(value: Any) -> str:
    """A value as a person reads it: text as it stands, anything else as JSON."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
