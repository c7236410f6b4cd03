"""The list of pages, and their sections. Pages are Markdown files whose relative links work in the repository and are
translated to URLs here."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote

BASE: Final = "/docs"
INDEX: Final = "docs/README.md"
"""Its headings and lists become the navigation."""
BESIDE: Final = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
"""Pages outside docs/."""
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING: Final = re.compile(r"^(#{1,4}) +(.+?)\s*#*$")
_LISTED: Final = re.compile(r"^[-*] \[([^]]+)\]\(([^)#]+)\)")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it, for the search."""

    page: str
    heading: str
    anchor: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the navigation. Each link is (name, URL)."""

    title: str
    links: Sequence[tuple[str, str]]


@cache
def root() -> Path:
    """The folder with the pages, laid out as in the repository: the wheel's copy if it exists, else the repository."""
    carried = Path(str(files("stoa.console"))) / "carried"
    return carried if carried.is_dir() else Path(__file__).parents[4]


@cache
def paths() -> frozenset[str]:
    """The paths of all pages, relative to the root."""
    found = {path.relative_to(root()).as_posix() for path in (root() / "docs").rglob("*.md")}
    return frozenset(found | {name for name in BESIDE if (root() / name).is_file()})


def address(path: str) -> str:
    """`docs/guide/agents.md` is `/docs/guide/agents`."""
    inside = path.removeprefix("docs/").removesuffix(".md")
    if inside == "README" or inside.endswith("/README"):
        inside = inside.removesuffix("README").rstrip("/")
    return quote(f"{BASE}/{inside.lower() if '/' not in path else inside}".rstrip("/"))


@cache
def by_address() -> Mapping[str, str]:
    return {address(path): path for path in paths()}


@cache
def source(path: str) -> str:
    return (root() / path).read_text("utf-8")


def title(path: str) -> str:
    first = sections(path)
    return first[0].heading if first else path


def picture(path: str) -> str | None:
    """The text of an SVG below docs/pictures. None for anything else."""
    inside = posixpath.normpath(path)
    if not inside.startswith("docs/pictures/") or not inside.endswith(".svg"):
        return None
    file = root() / inside
    return file.read_text("utf-8") if file.is_file() else None


def target(page: str, link: str) -> str | None:
    """The URL for a link in a page: another page, an anchor, or an external URL. None if it points to a file of the
    repository that is not a page."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link) or link.startswith("/"):
        return link
    place, sign, anchor = link.partition("#")
    if not place:
        return f"#{anchor}"
    found = posixpath.normpath(posixpath.join(posixpath.dirname(page), place))
    found = f"{found}/README.md" if f"{found}/README.md" in paths() else found
    return f"{address(found)}{sign}{anchor}" if found in paths() else None


def slug(heading: str) -> str:
    """The anchor of a heading, made as GitHub makes it, so that links to headings work in both places."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", words.lower()))


@cache
def sections(path: str) -> Sequence[Section]:
    """The sections of a page, split at its headings. Lines in fenced code are not headings."""
    found: list[Section] = []
    heading, level, lines, fence = "", 0, list[str](), ""
    taken: dict[str, int] = {}

    def close() -> None:
        if heading:
            anchor = slug(heading)
            number = taken.get(anchor, 0)
            taken[anchor] = number + 1
            said = heading.replace("`", "")
            found.append(Section(path, said, f"{anchor}-{number}" if number else anchor, level, "\n".join(lines)))

    for line in source(path).splitlines():
        if (mark := _FENCE.match(line)) is not None:
            fence = "" if fence and line.strip().startswith(fence) else fence or mark[1]
        elif not fence and (head := _HEADING.match(line)) is not None:
            close()
            heading, level, lines = head[2], len(head[1]), []
            continue
        lines.append(line)
    close()
    return found


@cache
def navigation() -> Sequence[Group]:
    """The links of the index, grouped by its headings."""
    groups: list[Group] = []
    links: list[tuple[str, str]] = []
    for line in source(INDEX).splitlines():
        if line.startswith("## "):
            links = []
            groups.append(Group(line[3:].strip(), links))
        elif (listed := _LISTED.match(line)) is not None and (found := target(INDEX, listed[2])) is not None:
            links.append((listed[1], found))
    return [group for group in groups if group.links]
