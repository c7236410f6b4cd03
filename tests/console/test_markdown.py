"""Markdown as safe HTML: finished blocks never change, wherever a stream is cut; nothing of it runs or calls."""

import random

import pytest
from selectolax.lexbor import LexborHTMLParser

from stoa.console import markdown

TEXT = """# Title

Some *text* [1], a [link][one] and `code`.

[one]: https://example.com/

- a
- b

  more of b
1. x
2. y

```python
def f():

    return "# no heading"
```
after
---

| a | b |
|--|-:|
| 1 | 2 |

> quote
lazy

~~~
open fence
"""


def cut(text: str, seed: int) -> list[str]:
    """The blocks of a text that comes in pieces."""
    chance, tail, blocks, at = random.Random(seed), "", list[str](), 0
    while at < len(text):
        size = chance.randint(1, 12)
        tail += text[at : at + size]
        at += size
        finished, tail = markdown.blocks_of(tail)
        blocks += finished
    return [*blocks, tail]


@pytest.mark.parametrize("seed", range(40))
def test_blocks_do_not_depend_on_the_cuts(seed: int) -> None:
    finished, rest = markdown.blocks_of(TEXT)
    assert cut(TEXT, seed) == [*finished, rest]
    assert "".join([*finished, rest]) == TEXT


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,alert)",
        '[x](https://a" onclick="alert(1))',
        "![x](https://evil.example/pixel.png)",
        '```"><script>alert(1)</script>\ncode\n```',
        "<https://a'onmouseover=alert(1)>",
        "| <b onclick=x> |\n|--|\n| <style>*{}</style> |",
    ],
)
def test_nothing_in_an_answer_runs_or_calls(hostile: str) -> None:
    tree = LexborHTMLParser("".join(markdown.document(hostile)))
    assert tree.body is not None
    for node in tree.body.traverse():
        assert node.tag not in ("script", "img", "style", "iframe"), hostile
        assert not any(name.startswith("on") or name == "style" for name in node.attributes), hostile
        assert not (node.attributes.get("href") or "https://").startswith(("javascript", "data")), hostile


def test_formulas_stay_as_they_were_written() -> None:
    assert r"\(a_b*c*\)" in markdown.document(r"So \(a_b*c*\) holds.")[0]


def test_citations_are_chips_but_not_in_code() -> None:
    assert 'data-cite="2"' in markdown.document("So it is [2].")[0]
    assert "data-cite" not in markdown.document("`a[2]`")[0]


FORMULAS = (
    "So:\n\\[\nx_1\n+ y*2*\n- z\n\\]\nand\n\n$$\na\n\n= b\n$$\nIt costs $5 or $6.\n\n"
    "- one\n  $$\n  c\n  + d\n  $$\n- two\n\nend\n"
)


def test_lines_of_a_formula_are_no_list() -> None:
    shown = "".join(markdown.document(FORMULAS))
    assert '<code class="math">\\[\nx_1\n+ y*2*\n- z\n\\]</code>' in shown
    assert '<code class="math">$$\na\n\n= b\n$$</code>' in shown
    assert '<code class="math">$$\nc\n+ d\n$$</code>' in shown
    assert "It costs $5 or $6." in shown
    assert shown.count("<li>") == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_formula_is_one_block_wherever_its_stream_is_cut(seed: int) -> None:
    finished, rest = markdown.blocks_of(FORMULAS)
    assert cut(FORMULAS, seed) == [*finished, rest]


def test_a_formula_that_is_never_closed_is_text() -> None:
    assert markdown.document("$$\nopen\n\n- a\n")[0].startswith("<p>$$\nopen</p>\n<ul>")
    long = "$$\n" + "x\n" * markdown.FORMULA_LINES_MAX + "$$\n"
    assert 'class="math"' not in "".join(markdown.document(long))
