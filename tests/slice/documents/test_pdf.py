"""The handbook that ships with Stoa, read by pdfium: headings, tables and page numbers survive."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdfium2 import PdfDocument

from stoa.documents.converting.layout import hyphens
from stoa.documents.converting.pdf import pdf_pages
from stoa.documents.types import ConversionError
from tests.support.knowledge import HANDBOOK


def test_the_handbooks_tables_headings_and_pages_survive() -> None:
    count, pages, warnings = pdf_pages(HANDBOOK.read_bytes(), "stoa-handbook.pdf", 5_000)
    text = {page.number: page.markdown for page in pages}
    assert warnings == []
    assert sorted(text) == list(range(1, count + 1))
    rows = [line for markdown in text.values() for line in markdown.splitlines() if line.startswith("|")]
    assert any("15 seconds" in row for row in rows)
    assert any("409" in row and "conflict" in row for row in rows)
    assert any(line.startswith("#") and "The Stoa handbook" in line for line in text[1].splitlines())
    assert not any(
        line.strip() == f"The Stoa handbook {number}" for number, page in text.items() for line in page.splitlines()
    )


def test_inline_code_does_not_tear_a_paragraph() -> None:
    _, pages, _ = pdf_pages(HANDBOOK.read_bytes(), "stoa-handbook.pdf", 5_000)
    paragraphs = [part for page in pages for part in page.markdown.split("\n\n")]
    assert any("on_busy" in part and "queue" in part and "interrupt" in part for part in paragraphs)


def test_more_pages_than_allowed_are_refused_before_any_is_read() -> None:
    with pytest.raises(ConversionError) as refused:
        pdf_pages(HANDBOOK.read_bytes(), "stoa-handbook.pdf", 2)
    assert refused.value.code == "too_many_pages"


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", HANDBOOK.read_bytes()[:2_000]])
def test_a_cut_file_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionError) as refused:
        pdf_pages(data, "cut.pdf", 5_000)
    assert refused.value.code == "corrupt_file"


# --- files of our own, with each producer's habits ------------------------------------------------------------------
def made(*contents: str, extra: bytes = b"", resources: bytes = b"", root: bytes = b"") -> bytes:
    """A PDF of 600 by 800 points a page; `extra` are entries of every page, `root` those of the catalogue."""
    count = len(contents)
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(count))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % root,
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for number, content in enumerate(contents):
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>%s>>/Contents %d 0 R%s>>"
        data = content.encode("latin-1")
        objects += [
            page % (resources, 5 + 2 * number, extra),
            b"<</Length %d>>stream\n%s\nendstream" % (len(data), data),
        ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (len(objects) + 1)


def with_object(data: bytes, added: bytes) -> bytes:
    """Object 6 of a file of one page."""
    return data.replace(b"trailer", b"6 0 obj\n" + added + b"\nendobj\ntrailer").replace(b"/Size 6", b"/Size 7")


def at(x: float, y: float, text: str, size: int = 10) -> str:
    return f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n"


def ruled(x: float, y: float, width: float, height: float, rows: int, columns: int) -> str:
    levels = [f"{x} {y + height * row / rows} m {x + width} {y + height * row / rows} l S\n" for row in range(rows + 1)]
    steps = [x + width * one / columns for one in range(columns + 1)]
    uprights = [f"{step} {y} m {step} {y + height} l S\n" for step in steps]
    return "".join(levels + uprights)


def texts_of(data: bytes) -> list[str]:
    return [page.markdown for page in pdf_pages(data, "a.pdf", 100)[1]]


WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=9)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=12),
    st.tuples(st.integers(0, 500), st.integers(100, 700), st.integers(40, 500), st.integers(40, 400)),
    st.tuples(st.integers(2, 8), st.integers(2, 12)),
    st.integers(0, 200),
)
@settings(max_examples=60, deadline=None)
def test_no_word_of_a_page_is_lost_or_torn_by_a_grid(
    lines: list[list[str]], box: tuple[int, int, int, int], cells: tuple[int, int], left: int
) -> None:
    """Wherever the rules stand: beside the words, around them or through them."""
    body = "".join(at(left, 760 - 14 * number, " ".join(line)) for number, line in enumerate(lines))
    [text] = texts_of(made(body + ruled(*box, *cells)))
    assert {word for line in lines for word in line} <= set(text.replace("|", " ").replace("#", " ").split())


def test_running_lines_go_only_where_they_count_with_the_pages() -> None:
    middle = "every department reports its travel expenses within thirty days after the journey"
    amounts = (17, 29, 31, 47, 53, 61)
    pages = [
        at(50, 770, f"Report {2024}") + at(50, 750, f"Invoice {100 + 7 * number}") + at(50, 400, middle)
        + at(50, 60, f"Amount due {amounts[number]}") + at(50, 30, f"Page {number + 1} of 6")
        for number in range(6)
    ]  # fmt: skip
    texts = texts_of(made(*pages))
    for number, text in enumerate(texts):
        assert f"Invoice {100 + 7 * number}" in text
        assert f"Amount due {amounts[number]}" in text
        assert "Page" not in text
        assert "Report" not in text


def test_a_label_beside_a_table_stays() -> None:
    body = "".join(at(50, 704 - 20 * row, f"label{row}: cell{row} value{row}") for row in range(3))
    [text] = texts_of(made(body + ruled(84, 660, 120, 60, 3, 1) + ruled(84, 660, 120, 60, 3, 2)))
    assert {f"{kind}{row}" for kind in ("cell", "value") for row in range(3)} <= set(text.replace("|", " ").split())
    assert all(f"label{row}:" in text for row in range(3))


@given(
    st.lists(st.lists(WORDS, min_size=2, max_size=5), min_size=1, max_size=8),
    st.tuples(st.integers(0, 500), st.integers(400, 760), st.integers(40, 500), st.integers(40, 300)),
    st.tuples(st.integers(2, 6), st.integers(2, 6)),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_word_around_a_grid_is_lost(
    rows: list[list[str]], box: tuple[int, int, int, int], cells: tuple[int, int], by_columns: bool
) -> None:
    """Rows of words far apart, each written by itself: left of the rules, between them, and right of them."""
    placed = [
        (40 + 110 * column, 760 - 16 * row, word) for row, each in enumerate(rows) for column, word in enumerate(each)
    ]
    if by_columns:
        placed.sort(key=lambda one: one[0])
    [text] = texts_of(made("".join(at(*one) for one in placed) + ruled(*box, *cells)))
    assert {word for each in rows for word in each} <= set(text.replace("|", " ").replace("#", " ").split())


def test_a_table_that_no_rule_closes_at_its_sides_is_whole() -> None:
    """Rules stand between the columns and under the rows, and the outer columns have none at their outer side."""
    cells = [
        ["", "2000", "2002", "2004"],
        ["Schools", "15 455", "13 951", "12 068"],
        ["Colleges", "20 527", "20 922", "22 083"],
    ]
    body = "".join(
        at(50 + 110 * column, 705 - 20 * row, cell)
        for row, each in enumerate(cells)
        for column, cell in enumerate(each)
        if cell
    )
    [text] = texts_of(made(at(50, 760, "How many took part") + body + ruled(150, 660, 220, 60, 3, 2)))
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "|  | 2000 | 2002 | 2004 |",
        "| --- | --- | --- | --- |",
        "| Schools | 15 455 | 13 951 | 12 068 |",
        "| Colleges | 20 527 | 20 922 | 22 083 |",
    ]


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("ISO", "9001", "ISO-9001"),
        ("E", "Mail", "E-Mail"),
        ("Versicherungs", "abteilung", "Versicherungsabteilung"),
        ("ERR", "x", "ERR-x"),
        ("Retry", "After", "Retry-After"),
    ],
)
def test_a_hyphen_at_a_line_end_is_dropped_from_words_alone(before: str, after: str, whole: str) -> None:
    assert hyphens(f"see {before}\ufffe\r\n{after} now") == f"see {whole} now"


def test_values_of_forms_and_comments_are_read() -> None:
    fields = (
        b"/Annots[6 0 R"
        b"<</Type/Annot/Subtype/Text/Contents(please check)/Rect[50 500 70 520]>>"
        b"<</Type/Annot/Subtype/Text/F 2/Contents(hidden)/Rect[50 500 70 520]>>]"
    )
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(city)/V(Utrecht)/Rect[50 600 200 620]>>"
    data = made(at(50, 700, "Where do you live?"), extra=fields, root=b"/AcroForm<</Fields[6 0 R]>>")
    [text] = texts_of(with_object(data, field))
    assert "city: Utrecht" in text
    assert "Comment: please check" in text
    assert "hidden" not in text


def test_a_scan_with_a_stamp_counts_as_a_scan() -> None:
    image = b"/XObject<</I 6 0 R>>"
    data = made(at(500, 20, "ACME-1") + "q 600 0 0 800 0 0 cm /I Do Q", resources=image)
    data = with_object(
        data,
        b"<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"
        b"stream\n\x80\nendstream",
    )
    _, pages, warnings = pdf_pages(data, "a.pdf", 10)
    assert [page.markdown for page in pages] == ["ACME-1"]
    assert "1 of 1 pages hold no text" in warnings[0]
    targets: list[int] = []
    assert pdf_pages(data, "a.pdf", 10, ocr_pages=targets)[2] == []
    assert targets == [1]


def test_the_words_of_a_page_are_the_words_of_its_markdown() -> None:
    """Of a page with columns written line by line, a table, a sideways label and a watermark."""
    left = ("alpha begins the left side", "beta goes on with it", "gamma ends this side")
    right = ("delta begins the right side", "epsilon goes on too", "zeta ends that side")
    body = "".join(at(50, 700 - 14 * row, one) + at(320, 700 - 14 * row, left[row]) for row, one in enumerate(right))
    body += at(60, 545, "eta") + at(160, 545, "theta") + at(60, 525, "iota") + at(160, 525, "kappa")
    body += ruled(50, 520, 200, 40, 2, 2)
    body += "BT /F1 10 Tf 0 1 -1 0 30 300 Tm (lambda label) Tj ET\nBT /F1 30 Tf .7 .7 -.7 .7 200 200 Tm (DRAFT) Tj ET\n"
    data = made(body)
    [text] = texts_of(data)
    page = PdfDocument(data)[0].get_textpage().get_text_range()
    assert sorted(re.findall(r"\w+", page)) == sorted(re.findall(r"\w+", text))
    assert text.startswith(" ".join(right))
    assert "| eta | theta |\n| --- | --- |\n| iota | kappa |\n\n" + " ".join(left) in text


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("rotated", [0, 90, 180, 270])
def test_a_page_whose_text_runs_sideways_is_read_as_it_is_seen(turns: int, rotated: int) -> None:
    matrix = ("1 0 0 1 {u} {v}", "0 1 -1 0 {w} {u}", "-1 0 0 -1 {x} {w}", "0 -1 1 0 {v} {y}")[turns]

    def place(u: float, v: float) -> str:
        return matrix.format(u=u, v=v, w=600 - v, x=600 - u, y=600 - u)

    body = "".join(
        f"BT /F1 10 Tf {place(50 + 250 * column, 400 - 14 * row)} Tm ({word} {row} is of this side) Tj ET\n"
        for row in range(4)
        for column, word in enumerate(("left", "right"))
    )
    [text] = texts_of(made(body, extra=b"/Rotate %d" % rotated))
    sides = [" ".join(f"{word} {row} is of this side" for row in range(4)) for word in ("left", "right")]
    assert text == "\n\n".join(sides)


def test_a_table_that_goes_on_keeps_its_header() -> None:
    def page(rows: list[tuple[str, str]], y: float) -> str:
        texts = [
            at(60 + 100 * column, y + 20 * (len(rows) - row) - 14, cell)
            for row, cells in enumerate(rows)
            for column, cell in enumerate(cells)
        ]
        return "".join(texts) + ruled(50, y, 200, 20 * len(rows), len(rows), 2)

    first = page([("Name", "Amount"), ("bolt", "one")], 60)
    texts = texts_of(
        made(
            at(50, 700, "Above it") + first,
            page([("nut", "two"), ("pin", "three")], 700),
            page([("Name", "Amount"), ("rod", "four")], 700) + at(50, 500, "Below it"),
            page([("other", "table")] * 2, 300),
        )
    )
    head = "| Name | Amount |\n| --- | --- |\n"
    assert texts[1] == f"{head}| nut | two |\n| pin | three |"
    assert texts[2].startswith(f"{head}| rod | four |\n\nBelow it")
    assert texts[3].startswith("| other | table |")


def test_equal_first_lines_of_paragraphs_are_no_running_heads() -> None:
    body = at(50, 780, "Running head") + "".join(
        at(50, 745 - 12 * row, f"line {row} of a paragraph") for row in range(5)
    )
    first, *others = texts_of(made(*[body] * 4))
    assert first.startswith("Running head\n\nline 0 of a paragraph line 1"), "its words stand nowhere else"
    for text in others:
        assert text.startswith("line 0 of a paragraph line 1")


def test_fonts_of_size_one_that_are_scaled_are_as_large_as_they_look() -> None:
    body = "BT /F1 1 Tf 20 0 0 20 50 700 Tm (Heading) Tj ET\n"
    body += "".join(
        f"BT /F1 1 Tf 10 0 0 10 50 {670 - 12 * row} Tm (line {row} of the body) Tj ET\n" for row in range(4)
    )
    [text] = texts_of(made(body))
    assert text.startswith("# Heading\n\nline 0 of the body line 1")


@pytest.mark.parametrize(
    ("glyph", "word"),
    [
        ("\u0644\u0627", "\u0633\u0644\u0627\u0645"),
        ("\ufefb", "\u0633\u0644\u0627\u0645"),
        ("\u0647\u0645", "\u0633\u0647\u0645\u0645"),
    ],
)
def test_letters_of_one_glyph_stay_in_order_where_lines_run_to_the_left(glyph: str, word: str) -> None:
    """Meem, the ligature and seen as they are drawn from the left; the word is read from the right."""
    letters = {"41": "\u0645", "42": glyph, "43": "\u0633"}
    chars = "".join(f"<{code}> <{text.encode('utf-16-be').hex()}>\n" for code, text in letters.items())
    cmap = f"1 begincodespacerange <00> <FF> endcodespacerange\n3 beginbfchar\n{chars}endbfchar".encode()
    cmap = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n" + cmap + b"\nendcmap end end"
    data = made("BT /F2 10 Tf 300 700 Td (ABC) Tj ET").replace(b"/F1 3 0 R", b"/F1 3 0 R/F2 6 0 R")
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 7 0 R>>\nendobj\n7 0 obj\n"
    data = with_object(data, font + b"<</Length %d>>stream\n%s\nendstream" % (len(cmap), cmap)).replace(
        b"/Size 7", b"/Size 8"
    )
    assert texts_of(data) == [word]
