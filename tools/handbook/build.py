"""Builds the handbook: docs/handbook/handbook.typ → src/stoa/cli/assets/stoa-handbook.pdf, the same bytes every time.

Needs the package `typst` (not a dependency of Stoa): `python -m venv /tmp/venv && /tmp/venv/bin/pip install typst`,
then `/tmp/venv/bin/python tools/handbook/build.py`. Uses only the fonts inside that package. `--check` builds in memory
and fails when the committed PDF is not current.
"""

import re
import sys
from pathlib import Path
from typing import Final

import typst

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "docs" / "handbook" / "handbook.typ"
TARGET: Final = ROOT / "src" / "stoa" / "cli" / "assets" / "stoa-handbook.pdf"
BYTES_MAX: Final = 300_000


def build() -> bytes:
    pdf = typst.compile(SOURCE, format="pdf", ignore_system_fonts=True, timestamp=0)
    return without_tool_name(pdf)


def without_tool_name(pdf: bytes) -> bytes:
    """The document names the project, not its typesetter. Replacements keep their length, so offsets stay true."""
    pdf = re.sub(rb"/Creator\s?\(([^)]*)\)", lambda found: found[0].replace(found[1], b"Stoa".ljust(len(found[1]))), pdf)
    return re.sub(
        rb"<xmp:CreatorTool>([^<]*)<", lambda found: b"<xmp:CreatorTool>" + b"Stoa".ljust(len(found[1])) + b"<", pdf
    )


def main() -> int:
    pdf = build()
    if len(pdf) > BYTES_MAX:
        print(f"the handbook has {len(pdf)} bytes; {BYTES_MAX} is the most")
        return 1
    if "--check" in sys.argv[1:]:
        current = TARGET.is_file() and TARGET.read_bytes() == pdf
        print("current" if current else "stale: run tools/handbook/build.py")
        return 0 if current else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(pdf)
    print(f"{TARGET.relative_to(ROOT)}: {len(pdf)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
