"""Tables, JSON, notebooks, XML and what is never text, as their producers write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa.documents.chunking import passages
from stoa.documents.converting import data
from stoa.documents.converting.cleaning import clean, without_data
from stoa.documents.converting.data import json_text, notebook
from stoa.documents.converting.tables import table


def rows_of(text: str, *, tabs: bool = False) -> list[str]:
    return [line for line in table(text, "a.csv", tabs=tabs)[0].splitlines() if line and "---" not in line]


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("Produkt;Preis, netto\nSchraube;1,25\nMutter;0,80\n", "| Schraube | 1,25 |"),
        ("a,b;c\n1,2;3\n4,5;6\n7,8\n", "| 1 | 2;3 |"),
        ("a|b\n1|2\n", "| 1 | 2 |"),
        ("a\tb\n1,5\t2\n", "| 1,5 | 2 |"),
        ("sep=;\na;b\n1;2\n", "| 1 | 2 |"),
        ('"sep=|"\na|b\n1|2\n', "| 1 | 2 |"),
        ('a,b\n"one\ntwo",2\n', "| one two | 2 |"),
        ('a,b\n"say ""hi""",2\n', '| say "hi" | 2 |'),
    ],
)
def test_delimiters(text: str, second: str) -> None:
    assert rows_of(text)[1] == second


def test_lines_above_a_table_are_text() -> None:
    markdown, _ = table("Report 2024\nfor internal use\n\nname;price;n\nbolt;1,5;2\nnut;2,5;3\n", "a.csv", tabs=False)
    assert markdown.startswith("Report 2024\n\nfor internal use\n\n| name | price | n |\n")


def test_an_unclosed_quote_affects_its_own_line_only() -> None:
    body = "".join(f"{number},text {number}\n" for number in range(3, 400))
    markdown, warnings = table(f'id,size\n1,5\n2,"6\n{body}', "a.csv", tabs=False)
    assert '| 2 | "6 |' in markdown
    assert "| 399 | text 399 |" in markdown
    assert warnings == ["a.csv: the quote that opens in line 3 never closes."]
    markdown, warnings = table('a,b\n"5" pipe,3\n6" nail,4\n"open,5\n7,"q"\n', "a.csv", tabs=False)
    assert markdown.splitlines()[2:] == ["| 5 pipe | 3 |", '| 6" nail | 4 |', '| "open | 5 |', "| 7 | q |"]
    assert len(warnings) == 1


def test_quotes_that_never_close_cost_bounded_work() -> None:
    _, warnings = table('a,"b\n' * 50_000, "a.csv", tabs=False)
    assert len(warnings) <= 20


def test_a_huge_cell_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(2_000)]
    markdown, _ = table(f"id,text\n1,{' '.join(words)}\n", "a.csv", tabs=False)
    found = {word for one in passages(markdown) for word in one.text.replace("|", " ").split()}
    assert set(words) <= found


def test_json_says_what_it_means() -> None:
    text, warnings = data.json_text(
        '{"name": "J\\u00fcrgen", "note": "one\\nR\\u00fcckruf \\"x\\"", "n": 1.10, "a": [1, {"b": []}]}', "a.json"
    )
    for piece in ('"name": "Jürgen"', "Rückruf", '"n": 1.10', "1,", '"b": []'):
        assert piece in text
    assert warnings == []
    broken, warnings = data.json_text('{"a": ', "a.json")
    assert '{"a":' in broken
    assert len(warnings) == 1


@given(
    st.dictionaries(
        st.text(st.characters(categories=("L", "N")), min_size=1),
        st.text(st.characters(categories=("L", "N", "P", "Zs"))),
    )
)
def test_no_character_of_json_is_lost(value: dict[str, str]) -> None:
    for ascii_only in (True, False):
        text, _ = data.json_text(json.dumps(value, ensure_ascii=ascii_only), "a.json")
        for word in (one for pair in value.items() for one in pair if "\\" not in one and '"' not in one):
            assert word in text


def test_json_lines_are_records() -> None:
    text, warnings = data.json_lines('{"id": 1, "t": "\\u00fc"}\nnot json\n\n{"id": 2}\n', "a.jsonl")
    assert text.split("\n\n") == ['{"id": 1, "t": "ü"}', "not json", '{"id": 2}']
    assert "2" in warnings[0]


def test_notebooks_are_cells() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["printed\n"]},
                {"output_type": "display_data", "data": {"image/png": "QUJD" * 100, "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["\x1b[31m"]},
            ],
        },
        "no cell",
    ]
    text, warnings = data.notebook(
        json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "julia"}}}), "a.ipynb"
    )
    for piece in ("# Title\ntext", "```julia\nprint(1)\n```", "printed", "<Figure>", "ValueError: no"):
        assert piece in text
    assert "QUJD" not in text
    assert warnings == []
    assert data.notebook('{"nbformat": 3}', "a.ipynb")[1]


def test_xml_is_read_with_its_references_resolved() -> None:
    text, warnings = data.xml(
        "<?xml version='1.0'?><r><!-- no --><n>M&#252;ller &amp; S&#xF6;hne</n><![CDATA[<b> &amp;]]></r>", "a.xml"
    )
    assert "<n>Müller & Söhne</n><b> &amp;</r>" in text
    assert "no" not in text
    assert warnings == []
    assert data.xml("<r><unclosed></r>", "a.xml")[1]
    body, warnings = data.xml('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "a.xml")
    assert "&x;" in body, "an entity of the document's own is not expanded"
    assert "declares XML entities" in warnings[0]


def test_bullets_and_letters_of_symbol_fonts_are_what_they_show() -> None:
    assert clean("\uf0b7 Lutter\n\uf0fc\tTransport") == "- Lutter\n- Transport"
    assert clean("postale 56 \uf0b7 CH-1211") == "postale 56 \u2022 CH-1211"
    assert clean("A \uf0e0 B, N\uf761\uf774\uf76f \uf731\uf739\uf734\uf739") == "A \u2192 B, Nato 1949"
    assert clean("b\ue037\ue037i = \ue038x") == "b i = x"


def test_only_characters_that_people_read_are_text() -> None:
    assert clean("\x1b[33mwarning\x1b[0m: \x1b[1mdisk\x1b[0m full\x0cnext page") == "warning: disk full\nnext page"
    assert clean("one\x00two\x1b[0mthree") == "one two three"
    assert clean("Reise\xadkosten zero\u200bwidth \ufeff") == "Reisekosten zerowidth "
    assert clean("N\x08NA\x08A _\x08x") == "NA x"
    assert clean("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e", "Persian is spelled with a joiner"
    assert clean("a\r\nb\rc") == "a\nb\nc"
    assert clean("half \ud83d") == "half \ufffd"


def test_base64_is_no_text() -> None:
    encoded = "aB3dE5gH" * 40
    wrapped = "\n".join(encoded[:76] for _ in range(6))
    assert without_data(f"before {encoded} after") == ("before  after", 1)
    assert without_data(f"before\n{wrapped}\nafter")[1] == 1
    assert without_data("![x](data:image/png;base64,QUJDREVG)") == ("![x]()", 1)
    for kept in ("x" * 1_000, "ACGT" * 200, "1234567890" * 50, "a" * 64 + "\n" + "b" * 64, encoded[:64]):
        assert without_data(kept) == (kept, 0)


def test_backticks_within_a_line_open_no_block() -> None:
    found = passages("# One\n\n```code``` begins this line\n\n# Two\n\nzebra")
    assert found[-1].heading == "Two"


def test_json_lines_under_the_name_of_json() -> None:
    assert json_text('{"a": "\\u00fcx"}\n{"b": 1}\n', "a.json") == ('{"a": "üx"}\n\n{"b": 1}', [])


def test_a_name_that_is_given_twice_keeps_both_values() -> None:
    text, _ = json_text('{"a": "one", "a": "two"}', "a.json")
    assert "one" in text
    assert "two" in text


def test_line_breaks_within_cells_and_strings_are_spaces() -> None:
    text, warnings = table("a,b\nx\u2028y,1\nv\x0bw,2\r\n", "a.csv", tabs=False)
    assert (text.splitlines()[2:], warnings) == (["| x y | 1 |", "| v w | 2 |"], [])
    assert json_text('{"a": "x\u2028y"}', "a.json")[1] == []


def test_a_comma_here_and_there_is_no_delimiter() -> None:
    assert table("text\nhello, world\nfoo\nbar\n", "a.csv", tabs=False)[0].splitlines()[2] == "| hello, world |"


def test_notebooks_of_version_3() -> None:
    cells = [
        {"cell_type": "markdown", "source": "words"},
        {"cell_type": "code", "input": "y=2", "outputs": [{"text": "out"}]},
    ]
    text, warnings = notebook(json.dumps({"worksheets": [{"cells": cells}]}), "a.ipynb")
    assert (text, warnings) == ("words\n\n```python\ny=2\n```\n\n```\nout\n```", [])
