"""Makes untrusted text safe for a terminal."""

import re
from typing import Any, Final

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which begin escape sequences; characters that change the text's direction; lone surrogates."""


def plain(text: str) -> str:
    """The text without control characters, except for line breaks and tabs."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str, characters_max: int = 80) -> str:
    """The text on one line, truncated to `characters_max`."""
    line = " ".join(plain(text).split())
    return line if len(line) <= characters_max else line[: characters_max - 1] + "…"


def at(row: Any, path: str) -> Any:
    """The value at a path such as `model.slug` in a JSON object, or None."""
    for name in path.split("."):
        if not isinstance(row, dict) or name not in row:
            return None
        row = row[name]  # pyright: ignore[reportUnknownVariableType]
    return row  # pyright: ignore[reportUnknownVariableType]


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return ", ".join(cell(one) for one in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        import json  # noqa: PLC0415 — rarely

        return json.dumps(value, ensure_ascii=False)
    return str(value)
