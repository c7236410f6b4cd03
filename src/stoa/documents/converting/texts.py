"""Text and code as Markdown. Pure."""

import re
from typing import Final

BYTES_MAX: Final = 32 * 2**20
_BACKTICKS: Final = re.compile(r"`{3,}")


def fenced(text: str, language: str) -> str:
    """JSON, XML and program code as a code block: their characters are not Markdown."""
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    body = text.strip("\n").rstrip()
    return f"{fence}{language}\n{body}\n{fence}" if body.strip() else ""


def plain(text: str) -> str:
    """Plain text as Markdown. Only lines that would become headings are escaped, because passages are split at
    headings."""
    return re.sub(r"^(#{1,6}[ \t])", r"\\\1", text, flags=re.MULTILINE)
