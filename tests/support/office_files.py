"""Small office files and archives, made on the spot."""

import io
import zipfile

import docx
import openpyxl
import pptx


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("Gadget report", 1)
    document.add_paragraph("The gadget costs 42 euros.")
    document.add_heading("Prices", 2)
    table = document.add_table(2, 2)
    for row, cells in enumerate((("Part", "Price"), ("Bolt", "7"))):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    return saved(document)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for title in ("First slide", "Second slide"):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = f"Body of the {title.lower()}"
    return saved(presentation)


def sheet() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active.title = "Prices"
    workbook.active.append(["part", "price"])
    workbook.active.append(["bolt", 7])
    return saved(workbook)


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def epub() -> bytes:
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        "<rootfiles>"
        '<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "b.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/><manifest>'
        '<item id="a" href="a.xhtml" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
        "a.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><body>'
        "<h1>Chapter</h1><p>Call me Ishmael.</p></body></html>",
    }
    return zipped(files)


def zipped(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
