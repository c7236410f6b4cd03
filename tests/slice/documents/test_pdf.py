"""The handbook that ships with Stoa, read by pdfium: headings, tables and page numbers survive."""

import pytest

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
