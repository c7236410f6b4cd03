"""Renders a page as HTML. The pages are trusted, but raw HTML in them is escaped anyway."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from markupsafe import Markup

from stoa.console.documentation import pages
from stoa.console.markdown import code

_SVG_HEAD: Final = re.compile(r"<svg\b[^>]*>")
_SVG_TITLE: Final = re.compile(r"<title>.*?</title>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """`parts` are the second-level headings: (name, anchor)."""

    title: str
    body: Markup
    parts: tuple[tuple[str, str], ...]


@cache
def page(path: str) -> Page:
    """Renders the page of a path. The first call takes some milliseconds, so call it in a thread."""
    body = _markdown().render(pages.source(path), {"page": path, "anchors": iter(pages.sections(path))})
    parts = tuple((one.heading, one.anchor) for one in pages.sections(path) if one.level == 2)
    return Page(pages.title(path), Markup(body), parts)  # noqa: S704 — our own pages, without raw HTML


@lru_cache(1)
def _markdown() -> Any:
    from markdown_it import MarkdownIt  # noqa: PLC0415 — a server without readers needs none of it

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("link_close", _link_end)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("table_open", lambda *_: '<div class="tablewrap"><table>')
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    for cell in ("th_open", "td_open"):
        parser.add_render_rule(cell, _cell)
    return parser


def _heading(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    anchors: Iterator[pages.Section] = env["anchors"]
    if int(tokens[index].tag[1]) <= 4 and (section := next(anchors, None)) is not None:
        tokens[index].attrSet("id", section.anchor)
    return str(renderer.renderToken(tokens, index, options, env))


def _link(_: Any, tokens: Any, index: int, _options: Any, env: Any) -> str:
    """Replaces a link to a file that is not a page by its text and the path in the repository."""
    link = str(tokens[index].attrGet("href") or "")
    found = pages.target(env["page"], link)
    if found is None:
        env["closing"] = "</span>"
        return f'<span title="{html.escape(link)}">'
    env["closing"] = "</a>"
    outside = ' rel="noopener noreferrer"' if ":" in found else ""
    return f'<a href="{html.escape(found)}"{outside}>'


def _link_end(_: Any, _tokens: Any, _index: int, _options: Any, env: Any) -> str:
    return str(env.pop("closing", "</a>"))


def _image(_: Any, tokens: Any, index: int, _options: Any, env: Any) -> str:
    """Inlines an SVG of the repository, so that it uses the page's colours."""
    token = tokens[index]
    folder = env["page"].rpartition("/")[0]
    drawn = pages.picture(f"{folder}/{token.attrGet('src')}")
    words = html.escape(token.content)
    if drawn is None:
        return words
    drawn = _SVG_TITLE.sub("", drawn)
    head = _SVG_HEAD.search(drawn)
    assert head is not None
    opened = f'{head[0][:-1]} role="img" aria-label="{words}">'
    return f'<span class="picture">{opened}{drawn[head.end() :].strip()}</span>'


def _fence(_: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    token = tokens[index]
    return code(token.content.removesuffix("\n"), (token.info or "").strip().split(" ")[0])


def _cell(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Sets alignment by a class, because the page's content security policy forbids inline styles."""
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if "right" in style or "center" in style:
        token.attrSet("class", "right" if "right" in style else "center")
    return str(renderer.renderToken(tokens, index, options, env))
