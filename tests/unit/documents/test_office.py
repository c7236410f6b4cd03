"""Office packages: parts found through relationships, and everything that a person sees or wrote in them."""

# ruff: noqa: E501 - documents as they are found, one element a line

import zipfile
from io import BytesIO

import docx
import openpyxl
import pptx
import pytest
import xlsxwriter
from docx.oxml import parse_xml
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from stoa.documents.converting.presentation import presentation_pages
from stoa.documents.converting.word import word_pages
from stoa.documents.converting.workbook import workbook_pages
from stoa.documents.types import ConversionError
from tests.support.office_files import saved, slides, word_file, zipped

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
BOX = (
    '<w:txbxContent><w:p><w:r><w:t>boxword</w:t></w:r></w:p></w:txbxContent>'
)  # fmt: skip


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    """The same package with other names of parts, and strict namespaces for relationships."""
    target = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as archive, zipfile.ZipFile(target, "w") as made:
        for entry in archive.infolist():
            name, content = entry.filename, archive.read(entry)
            for old, new in names.items():
                name = name.replace(old, new)
                if name.endswith((".rels", ".xml")):
                    content = content.replace(old.encode(), new.encode())
            made.writestr(name, content)
    return target.getvalue()


def word(*pieces: str) -> str:
    """What is read of a document with one paragraph that holds these."""
    document = docx.Document()
    paragraph = document.add_paragraph("before ")
    for piece in pieces:
        paragraph._p.append(parse_xml(piece.replace(">", f" {W}>", 1)))
    return word_pages(saved(document), "a.docx")[0][0].markdown


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("<w:ins><w:r><w:t>added</w:t></w:r></w:ins>", "before added"),
        ("<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>", "before"),
        ("<w:sdt><w:sdtContent><w:r><w:t>control</w:t></w:r></w:sdtContent></w:sdt>", "before control"),
        ("<w:r><w:rPr><w:vanish/></w:rPr><w:t>unseen</w:t></w:r>", "before (hidden: unseen)"),
        ("<w:r><w:instrText>PAGE</w:instrText></w:r>", "before"),
        ("<w:r><w:t>ISO</w:t><w:noBreakHyphen/><w:t>9001</w:t><w:tab/><w:t>b</w:t></w:r>", "before ISO-9001 b"),
        ("<w:r><w:t>soft</w:t><w:softHyphen/><w:t>ware</w:t></w:r>", "before software"),
        ("<w:r><w:ruby><w:rubyBase><w:r><w:t>漢字</w:t></w:r></w:rubyBase><w:rt><w:r><w:t>かんじ</w:t></w:r></w:rt></w:ruby></w:r>", "before 漢字(かんじ)"),
        (f'<w:r><w:pict><v:textbox xmlns:v="urn:v">{BOX}</v:textbox></w:pict></w:r>', "before\n\nboxword"),
        (f'<w:r><mc:AlternateContent xmlns:mc="urn:mc"><mc:Choice><w:drawing>{BOX}</w:drawing></mc:Choice><mc:Fallback><w:pict>{BOX}</w:pict></mc:Fallback></mc:AlternateContent></w:r>', "before\n\nboxword"),
    ],
)  # fmt: skip
def test_what_a_paragraph_of_word_shows(piece: str, expected: str) -> None:
    assert word(piece) == expected


def test_a_word_document_beyond_its_text() -> None:
    document = docx.Document()
    document.add_heading("Terms", 1)
    document.add_paragraph("first", style="List Number")
    document.add_paragraph("second", style="List Number")
    document.add_paragraph("point", style="List Bullet")
    table = document.add_table(3, 2)
    for row in range(3):
        for column in range(2):
            table.cell(row, column).text = f"c{row}{column}"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "both"
    document.sections[0].header.paragraphs[0].text = "Form QM-0815"
    document.add_comment(document.add_paragraph("noted").runs, text="check this", author="Ada")
    data = renamed(saved(document), {"document.xml": "body7.xml", "header1.xml": "kopf.xml", "comments.xml": "c9.xml"})
    [page] = word_pages(data, "a.docx")[0]
    for piece in ("# Terms", "1. first\n2. second\n- point", "| both | c11 |\n| both | c21 |", "Comment (Ada): check this", "Header: Form QM-0815"):  # fmt: skip
        assert piece in page.markdown


def test_a_workbook_as_it_is_shown() -> None:
    buffer = BytesIO()
    book = xlsxwriter.Workbook(buffer)
    sheet = book.add_worksheet("Values")
    sheet.merge_range("A1:C1", "A large title")
    sheet.write_row("A2", ["zip", "day", "share"])
    sheet.write_number("A3", 1067, book.add_format({"num_format": "00000"}))
    sheet.write_number("B3", 45356, book.add_format({"num_format": "dd.mm.yyyy"}))
    sheet.write_number("C3", 0.075, book.add_format({"num_format": "0.0%"}))
    sheet.write_rich_string("A4", "Projekt", book.add_format({"bold": True}), "nummer", " 7")
    sheet.write_boolean("B4", True)
    sheet.merge_range("C4:C5", "both")
    sheet.write("A5", "last")
    sheet.insert_textbox("F9", "boxword")
    sheet.write_comment("A3", "noted")
    sheet.set_header("&CHead &P")
    sheet.set_column("B:B", None, None, {"hidden": True})
    chart = book.add_chart({"type": "column"})
    chart.add_series({"values": "=Values!$A$3:$A$3"})
    chart.set_title({"name": "charttitle"})
    sheet.insert_chart("H9", chart)
    book.add_worksheet("Secret").write("A1", "unseen")
    book.get_worksheet_by_name("Secret").hide()
    book.close()
    [page], warnings = workbook_pages(renamed(buffer.getvalue(), {"sheet1.xml": "blatt.xml"}), "a.xlsx")
    assert warnings == []
    for piece in (
        "## Values\n\nA large title\n\n| zip | day | share |",
        "| 01067 | 05.03.2024 | 7.5% |\n| Projektnummer 7 | TRUE | both |\n| last |  | both |",
        "Hidden columns: B.",
        "noted (A3)",
        "boxword",
        "charttitle",
        "Header: Head",
        "## Secret (hidden)\n\n| unseen |",
    ):
        assert piece in page.markdown


def test_a_sheet_that_is_cut_off_is_read_up_to_there() -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["kept"])
    workbook.active.append(["lost"])
    data = saved(workbook)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sheet = files["xl/worksheets/sheet1.xml"]
    files["xl/worksheets/sheet1.xml"] = sheet[: sheet.index(b'<row r="2"')]
    [page], warnings = workbook_pages(zipped(files), "a.xlsx")
    assert "kept" in page.markdown
    assert "damaged" in warnings[0]


def test_slides_in_the_order_of_the_show() -> None:
    presentation = pptx.Presentation()
    shown, hidden = (presentation.slides.add_slide(presentation.slide_layouts[5]) for _ in range(2))
    shown.shapes.title.text, hidden.shapes.title.text = "Shown", "Unseen"
    hidden._element.set("show", "0")
    group = shown.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "grouped"
    table = shown.shapes.add_table(2, 2, 0, 0, Inches(3), Inches(1)).table
    table.cell(0, 0).text, table.cell(1, 0).text, table.cell(1, 1).text = "wide", "a", "b"
    table.cell(0, 0).merge(table.cell(0, 1))
    shown.notes_slide.notes_text_frame.text = "say it"
    data = CategoryChartData()
    data.categories = ["north"]
    data.add_series("sales", (1,))
    hidden.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, Inches(3), Inches(3), data)
    order = presentation.slides._sldIdLst
    order.insert(0, order[1])
    count, pages, _ = presentation_pages(saved(presentation), "a.pptx", 10)
    assert (count, [page.number for page in pages]) == (2, [1, 2])
    assert pages[0].markdown.startswith("## Unseen (hidden)\n\nsales; north")
    for piece in ("## Shown", "grouped", "| wide | wide |\n| --- | --- |\n| a | b |", "Speaker notes:\n\nsay it"):
        assert piece in pages[1].markdown


@pytest.mark.parametrize("data", [b"no archive", zipped({"a": "b"}), zipped({"_rels/.rels": "<Relationships/>"})])
def test_a_package_without_a_main_part_is_damaged(data: bytes) -> None:
    for read in (word_pages, workbook_pages, lambda data, name: presentation_pages(data, name, 9)):
        with pytest.raises(ConversionError) as refused:
            read(data, "a.docx")
        assert refused.value.code == "corrupt_file"


def test_parts_that_declare_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "ha">]><w:document xmlns:w="urn:w"><w:body><w:p><w:r><w:t>&x;</w:t></w:r></w:p></w:body></w:document>'
    with zipfile.ZipFile(BytesIO(word_file())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with pytest.raises(ConversionError):
        word_pages(zipped({**files, "word/document.xml": bomb}), "a.docx")
    assert presentation_pages(slides(), "a.pptx", 9)[0] == 2
