"""Writes the synchronous half of the Python client from the asynchronous one: `python tools/clients/unasync.py`.

One text, two colours: `clients/python/src/stoa_client/_async/` is written by hand, `_sync/` by this. A test keeps it
current.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[2] / "clients" / "python" / "src" / "stoa_client"
NOTE: Final = "# Written by tools/clients/unasync.py from _async/{name}; change that.\n"
WORDS: Final = (
    (r"\bAsyncGenerator\[(.+), None\]:", r"Generator[\1, None, None]:"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync (?=def|for|with)", ""),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\b_async\b", "_sync"),
)


def unasync(name: str, source: str) -> str:
    for pattern, replacement in WORDS:
        source = re.sub(pattern, replacement, source)
    if re.search(r"^import time$", source, re.MULTILINE):
        source = source.replace("import asyncio\n", "")
    source = source.replace("import asyncio\nimport random\n", "import random\nimport time\n")
    for ruff in (["check", "--select", "I,F401", "--fix"], ["format"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *ruff,
            "--quiet",
            "--stdin-filename",
            str(PACKAGE / "_sync" / name),
            "-",
        ]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return NOTE.format(name=name) + source


def files() -> dict[Path, str]:
    """What `_sync` must hold."""
    return {
        PACKAGE / "_sync" / path.name: unasync(path.name, path.read_text("utf-8"))
        for path in sorted((PACKAGE / "_async").glob("*.py"))
    }


def main() -> int:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
