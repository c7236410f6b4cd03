"""Renders pages: templates, translations, and formats of numbers and times."""

import hashlib
import mimetypes
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import cache
from gzip import compress
from importlib.resources import files
from typing import Any, Final

import orjson
from markupsafe import Markup

from stoa.console import markdown, times, words

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types stoa"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}
COMPARED_LINES_MAX: Final = 300
SHOWN_CHARACTERS_MAX: Final = 20_000
NOTHING: Final = "\u2013"
"""Shown for a missing value."""
NAVIGATION: Final = (
    ("chat", "/", "Chat"),
    ("overview", "/console/overview", "Overview"),
    ("conversations", "/console/conversations", "Conversations"),
    ("knowledge", "/console/knowledge", "Knowledge"),
    ("apps", "/console/apps", "Apps"),
    ("tools", "/console/tools", "Tools"),
    ("runs", "/console/runs", "Runs"),
    ("traces", "/console/traces", "Traces"),
    ("usage", "/console/usage", "Usage"),
    ("models", "/console/models", "Models"),
    ("keys", "/console/keys", "Keys"),
    ("members", "/console/members", "Members"),
    ("audit", "/console/audit", "Audit"),
    ("settings", "/console/settings", "Settings"),
)
"""(page, path, name) in the order of the menu."""


@cache
def assets() -> Mapping[str, tuple[bytes, bytes, str]]:
    """Name → (bytes, gzipped, media type)."""
    found: dict[str, tuple[bytes, bytes, str]] = {}
    for entry in sorted((files("stoa.console") / "assets").iterdir(), key=lambda entry: entry.name):
        content = entry.read_bytes()
        kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
        found[entry.name] = (content, compress(content, 9, mtime=0), kind)
    return found


@cache
def version() -> str:
    """A hash of all assets. It is part of their URLs, so that browsers can cache them forever."""
    digest = hashlib.sha256()
    for name, (content, _, _) in assets().items():
        digest.update(name.encode() + content)
    return digest.hexdigest()[:12]


def asset_address(name: str) -> str:
    return f"/console/assets/{version()}/{name}"


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, pass_context  # noqa: PLC0415 — a server without viewers needs none

    environment = Environment(
        loader=PackageLoader("stoa.console"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )

    @pass_context
    def when(context: Mapping[str, Any], text: str | None) -> Markup:
        return times.when(text, words.translator(context["language"]))

    filters: Mapping[str, Any] = {
        "bytes": size_of, "count": count, "money": money, "seconds": seconds, "when": when,
        "snippet": _snippet, "document": _document, "pretty": pretty, "embedded": _embedded, "against": _against,
    }  # fmt: skip
    environment.filters.update(filters)
    return environment


def render(template: str, language: str = words.SOURCE, **values: Any) -> str:
    translate = words.translator(language)
    context = {
        "_": translate,
        "language": language,
        "languages": words.languages(),
        "asset": asset_address,
        "navigation": NAVIGATION,
        **values,
    }
    return str(_environment().get_template(template).render(context))


def spoken(language: str) -> str:
    """The catalogue for scripts."""
    return _embedded(words.catalogue(language))


# --- filters --------------------------------------------------------------------------------------------------------
def _document(text: str) -> Markup:
    return Markup("".join(f'<div class="block" dir="auto">{block}</div>' for block in markdown.document(text)))  # noqa: S704 — sanitised


def _snippet(text: str) -> Markup:
    """A search's snippet: escaped text in which only the matched words are marked up."""
    import nh3  # noqa: PLC0415 — only for searches

    return Markup(nh3.clean(text, tags={"mark"}, attributes={}))  # noqa: S704 — sanitised


def _embedded(value: object) -> Markup:
    """JSON for scripts. `<` is escaped, so that no text can close the script element."""
    return Markup(orjson.dumps(value).decode().replace("<", "\\u003c"))  # noqa: S704 — escaped here


def _against(value: object, other: object) -> Markup:
    """A value as text, with the lines marked that the other value does not have. Long texts are not marked."""
    lines, others = pretty(value).split("\n"), pretty(other).split("\n")
    if max(len(lines), len(others)) > COMPARED_LINES_MAX:
        return Markup.escape(pretty(value)[:SHOWN_CHARACTERS_MAX])
    marked: list[Markup] = []
    for kind, begin, end, _, _ in SequenceMatcher(None, lines, others, autojunk=False).get_opcodes():
        frame = Markup("{}") if kind == "equal" else Markup("<b>{}</b>")
        marked += [frame.format(line) for line in lines[begin:end]]
    return Markup("\n").join(marked)


def pretty(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def count(number: object) -> str:
    return NOTHING if not isinstance(number, int | float) else f"{number:,}".replace(",", "\u202f")


def size_of(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def money(dollars: object) -> str:
    """US dollars. Amounts below a cent are not rounded to zero."""
    if not isinstance(dollars, int | float):
        return NOTHING
    if dollars and abs(dollars) < 0.01:
        return f"${dollars:.6f}".rstrip("0")
    return f"${dollars:,.2f}"


def seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return NOTHING
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
