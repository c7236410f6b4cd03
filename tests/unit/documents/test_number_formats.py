"""Cells of a workbook as they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoa.documents.converting.number_formats import BUILT_IN, shown, shown_text


@pytest.mark.parametrize(
    ("raw", "code", "expected"),
    [
        ("1067", "00000", "01067"),
        ("0.075", "0.0%", "7.5%"),
        ("1234.5", "#,##0.00", "1,234.50"),
        ("1234567", "#,##0", "1,234,567"),
        ("-3.5", "0.00;(0.00)", "(3.50)"),
        ("-5", "0", "-5"),
        ("-0.001", "0.00", "0.00"),
        ("12", '0 "kg"', "12 kg"),
        ("0.5", "0.##", "0.5"),
        ("99.995", "0.00", "100.00"),
        ("1234567", '#,##0,"k"', "1,235k"),
        ("123456789", "000-00-0000", "123-45-6789"),
        ("5551234567", "[<=9999999]###-####;(###) ###-####", "(555) 123-4567"),
        ("0", '0;-0;"none"', "none"),
        ("1234.5", '_-* #,##0.00\\ "€"_-;-* #,##0.00\\ "€"_-', "1,234.50 €"),
        ("1234.5", "[$€-407] #,##0.00", "€ 1,234.50"),
        ("5", '[<10]"low";[>=10]"high"', "low"),
        ("1.5", "# ?/?", "1 1/2"),
        ("0.25", "0/8?", "2/8"),
        ("1234567", "0.00E+00", "1.23E+06"),
        ("12345.678", "##0.0E+0", "12.3E+3"),
        ("45356", "dd.mm.yyyy", "05.03.2024"),
        ("45356", "mmmm d, yyyy", "March 5, 2024"),
        ("45356", "[$-407]d. mmm. yy", "5. Mar. 24"),
        ("45356", 'yyyy"年"m"月"d"日"', "2024年3月5日"),
        ("45356.604166666664", "dd.mm.yyyy hh:mm", "05.03.2024 14:30"),
        ("0.5", "h:mm AM/PM", "12:00 PM"),
        ("1.5", "[h]:mm", "36:00"),
        ("0.000694444", "mm:ss.0", "01:00.0"),
        ("1", "yyyy-mm-dd", "1900-01-01"),
        ("-1", "yyyy-mm-dd", "-1"),
        ("5", "General", "5"),
        ("0.30000000000000004", "General", "0.3"),
        ("1e-10", "General", "1E-10"),
        ("3", 'General" pcs"', "3 pcs"),
        ("no number", "0", "no number"),
        ("1e300", "0.00", "1E+300"),
    ],
)
def test_numbers_are_shown_as_their_format_says(raw: str, code: str, expected: str) -> None:
    assert shown(raw, code) == expected


def test_dates_of_a_workbook_that_counts_from_1904() -> None:
    assert shown("43894", "yyyy-mm-dd", since_1904=True) == "2024-03-05"


def test_texts_are_framed_by_their_format() -> None:
    assert (shown_text("abc", '@" x"'), shown_text("abc", "0.00"), shown_text("abc", "@")) == ("abc x", "abc", "abc")


@given(
    some.one_of(
        some.decimals(allow_nan=True, allow_infinity=True).map(str), some.floats().map(str), some.text(max_size=9)
    ),
    some.one_of(
        some.text(alphabet='0#?,.%;"$-\\[]<>=E+@ymdhsAP/ *_', max_size=16), some.sampled_from(sorted(BUILT_IN.values()))
    ),
)
def test_no_format_breaks_a_cell(number: str, code: str) -> None:
    assert len(shown(number, code)) < 700
    shown_text(number, code)
