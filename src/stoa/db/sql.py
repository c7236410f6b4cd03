"""Named SQL: every statement of a store lives in its `queries.sql`, under a name and a sentence.

    -- name: conversation_by_id
    -- The caller's conversation, with its model and its active run.
    SELECT …

`load` gives the statements by name; a test prepares each of them against a real database and finds those unused.
"""

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


class Statements:
    """The statements of one file, as attributes. A name that is not there is an AttributeError at import time."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts: Mapping[str, str] = MappingProxyType(dict(texts))

    def __getattr__(self, name: str) -> str:
        try:
            return self.texts[name]
        except KeyError:
            raise AttributeError(f"no statement is named {name!r}") from None


def load(package: str, file: str = "queries.sql") -> Statements:
    """Reads `file` beside the modules of `package`."""
    return parse(resources.files(package).joinpath(file).read_text("utf-8"), f"{package}/{file}")


def parse(text: str, origin: str) -> Statements:
    """The statements of a file whose text is given; `origin` names it in errors."""
    pieces = _NAME.split(text)
    names, bodies = pieces[1::2], pieces[2::2]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"{origin} names {', '.join(sorted(doubled))} twice")
    return Statements({name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)})
