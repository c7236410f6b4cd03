"""Cells of a workbook as they are shown."""

import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoa.documents.converting.sheets import as_shown, formatted

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STYLES = (
    f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="164" formatCode="00000"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="10"/><xf numFmtId="14"/></cellXfs></styleSheet>'
)


def workbook(sheet: str) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("xl/styles.xml", STYLES)
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{MAIN}">{sheet}</worksheet>')
    return target.getvalue()


def sheet_of(data: bytes) -> str:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode()


@pytest.mark.parametrize(
    ("raw", "code", "shown"),
    [
        ("1067", "00000", "01067"),
        ("0.075", "0.0%", "7.5%"),
        ("1234.5", "#,##0.00", "1,234.50"),
        ("1234567", "#,##0", "1,234,567"),
        ("-3.5", "0.00;(0.00)", "(3.50)"),
        ("12", '0 "kg"', "12 kg"),
        ("0.5", "0.##", "0.5"),
        ("45000", "yyyy-mm-dd", None),
        ("5", "General", None),
        ("1e300", "0.00", None),
        ("0.5", "# ?/?", None),
        ("1E5", "0.00E+00", None),
        ("no number", "0", None),
    ],
)
def test_numbers_are_shown_as_their_format_says(raw: str, code: str, shown: str | None) -> None:
    assert formatted(raw, code) == shown


@given(some.decimals(allow_nan=True, allow_infinity=True), some.text(alphabet='0#?,.%;"$-\\[]E@yd ', max_size=12))
def test_no_format_breaks_a_cell(number: object, code: str) -> None:
    found = formatted(str(number), code)
    assert found is None or len(found) < 60


def test_formats_apply_and_merged_cells_are_repeated() -> None:
    shown = sheet_of(
        as_shown(
            workbook(
                '<sheetData><row r="1"><c r="A1" s="1"><v>1067</v></c><c r="B1" s="3"><v>45000</v></c></row>'
                '<row r="2"><c r="A2"/><c r="B2" s="2"><f>1/8</f><v>0.125</v></c></row></sheetData>'
                '<mergeCells><mergeCell ref="A1:A2"/><mergeCell ref="C9:A1"/><mergeCell ref="nonsense"/></mergeCells>'
            )
        )
    )
    assert shown.count("01067") == 2
    assert "12.50%" in shown
    assert "45000" in shown, "dates are the library's"


def test_what_cannot_be_read_stays_as_it_is() -> None:
    for data in (b"no archive", workbook("<broken"), workbook("<sheetData/>")):
        assert as_shown(data) == data
