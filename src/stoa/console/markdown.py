"""Renders Markdown as safe HTML, block by block. A block does not change any more once another block follows it."""

import html
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit

HIGHLIGHTED_CHARACTERS_MAX: Final = 30_000
"""Longer blocks of code are not highlighted, because that takes about a millisecond per thousand characters."""
ATTRIBUTES: Final = {
    "a": {"href", "title", "target"},
    "code": {"class"},
    "pre": {"class"},
    "span": {"class"},
    "div": {"class"},
    "button": {"class", "type", "data-cite"},
    "ol": {"start"},
    "th": {"class"},
    "td": {"class"},
}
TAGS: Final = {
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n`]*)\n")
_FORMULAS: Final = {"$$": "$$", "\\[": "\\]"}
_INTERRUPTS: Final[Any] = {"alt": ["paragraph", "reference", "blockquote", "list"]}
FORMULA_LINES_MAX: Final = 200
_CITATION: Final = re.compile(r"\[(\d{1,3})\]")


def blocks_of(text: str) -> tuple[Sequence[str], str]:
    """(finished blocks, the open rest). Only complete lines are parsed, because an incomplete line may still become
    any kind of block."""
    whole = text[: text.rfind("\n") + 1]
    starts = [0, *_offsets(whole, _block_lines(whole))]
    finished = [text[begin:end] for begin, end in pairwise(starts)]
    return finished, text[starts[-1] :]


def _block_lines(text: str) -> Sequence[int]:
    """The first line of each block, except for the first block."""
    tokens = _skeleton().parse(text)
    return [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map][1:]


def _offsets(text: str, lines: Sequence[int]) -> Sequence[int]:
    """The offsets at which these lines begin."""
    wanted = frozenset(lines)
    ends = re.finditer(r"\n", text)
    return [match.end() for number, match in enumerate(ends, 1) if number in wanted]


def open_fence(text: str) -> tuple[str, str] | None:
    """(language, code so far) if the open block is a block of code, else None."""
    begin = _FENCE.match(text.lstrip("\n"))
    if begin is None:
        return None
    return begin[2].strip().split(" ")[0], text.lstrip("\n")[begin.end() :]


def render(block: str, references: dict[str, Any] | None = None) -> str:
    """HTML of one block, sanitised. `references` collects link definitions over the blocks of one text."""
    import nh3  # noqa: PLC0415 — a server without viewers needs none of it

    raw = _markdown().render(block, references if references is not None else {})
    return nh3.clean(
        raw,
        tags=TAGS,
        attributes=ATTRIBUTES,
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
    )


@lru_cache(256)
def document(text: str) -> Sequence[str]:
    """HTML of every block of a complete text."""
    finished, rest = blocks_of(text + "\n")
    references: dict[str, Any] = {}
    return [render(block, references) for block in [*finished, rest] if block.strip()]


def code(text: str, language: str) -> str:
    """A block of code with its language and a copy button, highlighted if the language is known."""
    name = html.escape(language or "text")
    return (
        f'<div class="code"><div class="code-head"><span>{name}</span>'
        '<button type="button" class="copy">Copy</button></div>'
        f"<pre><code>{_coloured(text, language)}</code></pre></div>"
    )


def _coloured(text: str, language: str) -> str:
    if not language or len(text) > HIGHLIGHTED_CHARACTERS_MAX:
        return html.escape(text)
    from pygments import highlight  # noqa: PLC0415 — only for code
    from pygments.formatters import HtmlFormatter  # noqa: PLC0415
    from pygments.lexers import get_lexer_by_name  # noqa: PLC0415
    from pygments.util import ClassNotFound  # noqa: PLC0415

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return html.escape(text)
    # Pygments always adds a line break. Pasted into a shell, it would execute the command at once.
    return str(highlight(text, lexer, HtmlFormatter(nowrap=True))).removesuffix("\n")


@lru_cache(1)
def _skeleton() -> Any:
    """A parser that finds blocks without parsing their content."""
    from markdown_it import MarkdownIt  # noqa: PLC0415

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.block.ruler.before("fence", "math_block", partial(_math_block, open_ended=True), _INTERRUPTS)
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@lru_cache(1)
def _markdown() -> Any:
    from markdown_it import MarkdownIt  # noqa: PLC0415

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.block.ruler.before("fence", "math_block", _math_block, _INTERRUPTS)
    parser.inline.ruler.before("escape", "math", _math)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    parser.add_render_rule("text", _text)
    for cell in ("th_open", "td_open"):
        parser.add_render_rule(cell, _cell)
    parser.add_render_rule("link_open", _link)
    return parser


def _math_block(state: Any, first: int, last: int, silent: bool, open_ended: bool = False) -> bool:
    """A formula of several lines; without this rule a line that begins with + or - would become a list item. An
    unclosed formula does not count, except with `open_ended`, which is used while the text may still grow."""
    begin = state.bMarks[first] + state.tShift[first]
    line = state.src[begin : state.eMarks[first]].strip()
    close = _FORMULAS.get(line[:2])
    if close is None or state.is_code_block(first) or close in line[2:]:
        return False
    end = next(
        (one for one in range(first + 1, min(last, first + FORMULA_LINES_MAX)) if close in _line(state, one)), None
    )
    if end is None and not (open_ended and last - first < FORMULA_LINES_MAX):
        return False
    if silent:
        return True
    end = last - 1 if end is None else end
    token = state.push("code_inline", "code", 0)
    token.block, token.map = True, [first, end + 1]
    token.content = state.getLines(first, end + 1, state.blkIndent, False).rstrip("\n")
    token.attrSet("class", "math")
    state.line = end + 1
    return True


def _line(state: Any, number: int) -> str:
    return str(state.src[state.bMarks[number] : state.eMarks[number]])


def _math(state: Any, silent: bool) -> bool:
    """Keeps formulas unchanged: Markdown would remove their backslashes and underscores."""
    for begin, end in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$")):
        if state.src.startswith(begin, state.pos):
            close = state.src.find(end, state.pos + len(begin))
            if close < 0:
                return False
            if not silent:
                token = state.push("code_inline", "code", 0)
                token.content = state.src[state.pos : close + len(end)]
                token.attrSet("class", "math")
            state.pos = close + len(end)
            return True
    return False


def _image(_: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    """Renders an image as a link: an answer must not make the reader's browser send requests by itself."""
    token = tokens[index]
    address = str(token.attrGet("src") or "")
    host = urlsplit(address).netloc or "image"
    words = html.escape(token.content or "image")
    return f'<a href="{html.escape(address)}" target="_blank">{words} ({html.escape(host)})</a>'


def _link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, env))


def _fence(_: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    token = tokens[index]
    return code(token.content.removesuffix("\n"), (token.info or "").strip().split(" ")[0])


def _text(_: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    """Renders `[3]` as a citation: a button that opens the passage."""
    return _CITATION.sub(
        r'<button type="button" class="cite" data-cite="\1">\1</button>', html.escape(tokens[index].content)
    )


def _cell(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Sets alignment by a class, because the page's content security policy forbids inline styles."""
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if "right" in style or "center" in style:
        token.attrSet("class", "right" if "right" in style else "center")
    return str(renderer.renderToken(tokens, index, options, env))
