"""Lines and rules of a page become Markdown: decided here, without a PDF."""

import pytest

from stoa.documents.converting import grids as ruling
from stoa.documents.converting import layout
from stoa.documents.converting.grids import Rule
from stoa.documents.converting.layout import Grid, Line, Sheet

HEIGHT = 800.0


def line(
    text: str, y: float, *, size: float = 10.0, bold: bool = False, fixed: bool = False, broken: bool = False
) -> Line:
    return Line(text, 50.0, 50.0 + 5 * len(text), y, size, bold, fixed, broken)


def body(*texts: str, top: float = 600.0, step: float = 13.0) -> list[Line]:
    return [line(text, top - step * number) for number, text in enumerate(texts)]


def page(*lines: Line, grids: tuple[Grid, ...] = ()) -> Sheet:
    return Sheet(HEIGHT, lines, grids)


def ruled(xs: list[float], ys: list[float]) -> list[Rule]:
    return [Rule(True, y, xs[0], xs[-1]) for y in ys] + [Rule(False, x, ys[0], ys[-1]) for x in xs]


def test_lines_at_the_usual_distance_are_one_paragraph_and_a_larger_gap_begins_another() -> None:
    lines = body("one one one", "two two two", "three three") + body("four four four", "five", top=540)
    assert layout.markdown([page(*lines)]) == ["one one one two two two three three\n\nfour four four five"]


def test_larger_sizes_are_headings_in_their_order_and_a_bold_line_alone_is_one_below_them() -> None:
    lines = [line("Title", 700, size=20), line("Chapter", 660, size=14), *body("text of the body that weighs more")]
    lines += [line("Bold and alone", 560, bold=True), *body("more text of the body", top=540)]
    assert layout.markdown([page(*lines)]) == [
        "# Title\n\n## Chapter\n\ntext of the body that weighs more\n\n### Bold and alone\n\nmore text of the body"
    ]


def test_a_bold_line_inside_a_paragraph_is_no_heading() -> None:
    lines = body("some text that runs", "in bold type here", "and goes on")
    lines[1] = line("in bold type here", lines[1].baseline, bold=True)
    assert layout.markdown([page(*lines)]) == ["some text that runs in bold type here and goes on"]


def test_items_of_a_list_are_items_and_their_second_line_stays_with_them() -> None:
    lines = body("• first of them", "which goes on", "• second", "3) third")
    assert layout.markdown([page(*lines)]) == ["- first of them which goes on\n- second\n3. third"]


def test_a_word_cut_at_the_end_of_a_line_is_whole_again_and_a_real_hyphen_is_kept() -> None:
    cut = [line("an amend", 600, broken=True), *body("ment, sent after Retry", top=587)]
    cut[-1] = line("ment, sent after Retry", 587, broken=True)
    assert layout.markdown([page(*cut, line("After has passed", 574))]) == [
        "an amendment, sent after Retry-After has passed"
    ]


def test_lines_in_a_fixed_font_are_a_code_block() -> None:
    lines = [*body("before it some prose"), line("GET /health", 570, fixed=True), line("GET /ready", 557, fixed=True)]
    assert layout.markdown([page(*lines)]) == ["before it some prose\n\n```\nGET /health\nGET /ready\n```"]


def test_running_headers_and_footers_go_but_a_page_that_has_nothing_else_keeps_them() -> None:
    sheets = [
        page(line(f"Report {n}", 780), *body(f"text of page {n}"), line(f"page {n} of 9", 20)) for n in range(1, 9)
    ]
    sheets.append(page(line("page 9 of 9", 20)))
    pages = layout.markdown(sheets)
    assert pages[:2] == ["text of page 1", "text of page 2"]
    assert pages[8] == "page 9 of 9"


def test_a_running_header_with_words_of_its_own_stays_once() -> None:
    heads = ("Harbour Lighthouse Ltd", "Quality manual QM0815")
    for head in heads:
        pages = layout.markdown([page(line(head, 780), *body(f"text of page {n}")) for n in range(1, 6)])
        assert pages == [f"{head}\n\ntext of page 1", *(f"text of page {n}" for n in range(2, 6))]


@pytest.mark.parametrize(
    ("before", "after", "elsewhere", "expected"),
    [
        ("the worst", "case is", "the worst of it, in any case", "the worst-case is"),
        ("the worst", "case is", "the worst-case bound", "the worst-case is"),
        ("the con", "tent is", "a pro and a con", "the content is"),
        ("the con", "tent is", "con, tent and content", "the content is"),
        (
            "see http://a.example/understanding-and",
            "applying-it",
            "",
            "see http://a.example/understanding-and-applying-it",
        ),
    ],
)
def test_a_hyphen_at_a_line_end_goes_where_the_document_knows_the_word(
    before: str, after: str, elsewhere: str, expected: str
) -> None:
    lines = [line(before, 600, broken=True), line(after, 588), line(elsewhere or "end", 500)]
    assert layout.markdown([page(*lines)])[0].split("\n\n")[0] == expected


def test_the_same_words_in_the_middle_of_every_page_stay() -> None:
    pages = layout.markdown([page(*body(f"Invoice number {n}")) for n in range(5)])
    assert pages == [f"Invoice number {n}" for n in range(5)]


def test_a_line_that_only_looks_like_a_markdown_heading_is_escaped() -> None:
    assert layout.markdown([page(*body("# not a heading in this document"))]) == ["\\# not a heading in this document"]


def test_rules_make_a_grid_of_cells_row_by_row_from_the_top() -> None:
    [(box, cells)] = ruling.grids(ruled([0, 100, 200], [0, 20, 40]))
    assert box == (0, 0, 200, 40)
    assert cells == [[(0, 20, 100, 40), (100, 20, 200, 40)], [(0, 0, 100, 20), (100, 0, 200, 20)]]


def test_a_missing_rule_joins_two_cells() -> None:
    rules = [rule for rule in ruled([0, 100, 200], [0, 20, 40]) if not (not rule.level and rule.at == 100)]
    [(_, cells)] = ruling.grids([*rules, Rule(False, 100, 0, 20)])
    assert cells[0] == [(0, 20, 200, 40), None]


def test_a_frame_and_an_underline_are_no_tables() -> None:
    assert ruling.grids(ruled([0, 100], [0, 20])) == []
    assert ruling.grids([Rule(True, 10, 0, 300)]) == []


def test_a_drawing_with_thousands_of_rules_is_not_parsed_as_a_table() -> None:
    assert ruling.grids(ruled([10.0 * n for n in range(500)], [10.0 * n for n in range(500)])) == []


def test_a_table_stands_where_its_lines_stood_and_its_signs_are_escaped() -> None:
    grid = Grid((40, 500, 300, 560), (("Name", "Price"), ("a|b", "1")))
    inside = [line("Name Price", 545), line("a|b 1", 515)]
    text = layout.markdown(
        [page(*body("before it some prose"), *inside, *body("after it some prose", top=450), grids=(grid,))]
    )
    assert text == ["before it some prose\n\n| Name | Price |\n| --- | --- |\n| a\\|b | 1 |\n\nafter it some prose"]
