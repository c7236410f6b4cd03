"""A release's notes out of CHANGELOG.md: `python tools/supply/release_notes.py 1.2.0`; without a version, what is not
released yet. `--check` says what is wrong with the file.

A release is a tag `v1.2.0` on the commit whose changelog has the section and whose `stoa.__version__` is that version.
"""

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HEADING: Final = re.compile(r"^## \[([^]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)
KINDS: Final = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED: Final = "Unreleased"


def sections(text: str) -> dict[str, str]:
    """Version → notes, in the order of the file."""
    found = [*HEADING.finditer(text)]
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {one[1]: text[one.end() : end].strip() + "\n" for one, end in zip(found, ends, strict=True)}


def problems(text: str) -> list[str]:
    """What Keep a Changelog asks for and is not there."""
    versions = [one[1] for one in HEADING.finditer(text)]
    said = [f"the section {version} comes twice" for version in set(versions) if versions.count(version) > 1]
    if not versions or versions[0] != UNRELEASED:
        said.append(f"the first section is [{UNRELEASED}]")
    numbers = [tuple(map(int, version.split("."))) for version in versions if re.fullmatch(r"\d+\.\d+\.\d+", version)]
    if len(numbers) != len(versions) - versions.count(UNRELEASED):
        said.append("a version is no number of three parts")
    if numbers != sorted(numbers, reverse=True):
        said.append("the newest version stands first")
    said += [f"[{one[1]}] has no date" for one in HEADING.finditer(text) if one[1] != UNRELEASED and not one[2]]
    for version, notes in sections(text).items():
        kinds = re.findall(r"^### (.+)$", notes, re.MULTILINE)
        said += [f"[{version}]: {kind} is none of {', '.join(KINDS)}" for kind in kinds if kind not in KINDS]
        said += [f"[{version}] has {kind} twice" for kind in set(kinds) if kinds.count(kind) > 1]
    return said


def main(arguments: list[str]) -> int:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if "--check" in arguments:
        for one in problems(text):
            print(f"CHANGELOG.md: {one}", file=sys.stderr)
        return 1 if problems(text) else 0
    version = (arguments or [UNRELEASED])[0].removeprefix("v")
    notes = sections(text).get(version)
    if notes is None:
        print(f"CHANGELOG.md has no section [{version}].", file=sys.stderr)
        return 1
    print(notes, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
