"""The documentation's pages, and the code blocks in them."""

import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


SHELLS = {"sh": ("sh",), "bash": ("bash", "--norc"), "zsh": ("zsh", "-f")}


def shell_of(page: str) -> tuple[str, ...]:
    """The shell that runs a page's blocks: bash and zsh alternate, so that the pages together test both; bash or sh
    where zsh is not installed. `PASTED_INTO` names another."""
    name = os.environ.get("PASTED_INTO") or PASTED_INTO[page]
    if shutil.which(name) is None:
        assert not os.environ.get("CI"), f"CI must have {name}"
        name = "sh"
    return SHELLS[name]


PASTED_INTO = {
    "../moving/dynamiq.md": "bash",
    "README.md": "zsh",
    "agents.md": "bash",
    "apps.md": "zsh",
    "knowledge.md": "bash",
    "memory.md": "zsh",
    "people.md": "zsh",
    "sources.md": "zsh",
    "triggers.md": "bash",
}
