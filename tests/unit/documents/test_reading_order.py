"""Lines of a page in the order in which they are read, however the file writes them."""

from hypothesis import given, settings
from hypothesis import strategies as some

from stoa.documents.converting.reading_order import ordered
from stoa.documents.converting.sheet import Grid, Line

LEFT = ("the left side begins", "and goes on with words", "and more of them here", "until it ends there")
RIGHT = ("the right side begins", "which also has words", "and some others too", "and ends as well")


def line(text: str, x: float, y: float, size: float = 10.0) -> Line:
    return Line(text, x, x + 5 * len(text), y, size)


def column(texts: tuple[str, ...], x: float, top: float = 700) -> list[Line]:
    return [line(text, x, top - 14 * number) for number, text in enumerate(texts)]


def texts(lines: tuple[Line, ...]) -> list[str]:
    return [one.text for one in lines]


TITLE = "A title over all of the page that is as wide as both of its columns"
BELOW = "And a line below both of the columns that spans the page from edge to edge"
PAGE = [*column(LEFT, 50), *column(RIGHT, 320), line(TITLE, 50, 740), line(BELOW, 50, 600)]


@given(some.permutations(PAGE))
@settings(deadline=None)
def test_columns_are_read_one_after_the_other(lines: list[Line]) -> None:
    assert texts(ordered(lines, ())) == [TITLE, *LEFT, *RIGHT, BELOW]


def test_lines_that_reach_over_both_columns_are_cut_at_the_gap() -> None:
    lines: list[Line] = []
    for one, other in zip(column(LEFT, 50), column(RIGHT, 320), strict=True):
        lines.append(Line(f"{one.text} {other.text}", 50, other.right, one.baseline, 10, parts=(one, other)))
    assert texts(ordered(lines, ())) == [*LEFT, *RIGHT]


def test_rows_of_short_cells_stay_rows() -> None:
    cells = [("Item", "Qty"), ("Bolt", "7"), ("Nut", "9"), ("Pin", "12")]
    lines = [
        line(text, 50 + 200 * at, 700 - 14 * row) for row, pair in enumerate(cells) for at, text in enumerate(pair)
    ]
    assert texts(ordered(lines, ())) == ["Item Qty", "Bolt 7", "Nut 9", "Pin 12"]


def test_columns_of_short_lines_are_columns_where_the_file_writes_them_so() -> None:
    lines = [*column(tuple("abc"), 50), *column(tuple("def"), 250)]
    assert "".join(texts(ordered(lines, ()))) == "abcdef"


def test_the_lines_of_a_grid_follow_one_another() -> None:
    inside = [line("a", 60, 650), line("b", 60, 630)]
    lines = [inside[0], line("above", 50, 700), inside[1], line("below", 50, 500)]
    assert texts(ordered(lines, (Grid((50, 620, 200, 665), (("a",), ("b",))),))) == ["above", "a", "b", "below"]


def test_right_to_left_text_is_read_from_the_right() -> None:
    right, left = (
        ("ימין אחד כאן עכשיו", "ימין שני כאן גם", "ימין שלישי כאן"),
        ("שמאל אחד כאן גם", "שמאל שני כאן", "שמאל שלישי כאן"),
    )
    lines = [*column(left, 50), *column(right, 320)]
    assert texts(ordered(lines, ())) == [*right, *left]


@given(some.lists(some.tuples(some.integers(0, 500), some.integers(0, 800), some.integers(1, 40)), max_size=30))
@settings(deadline=None, max_examples=50)
def test_no_line_is_lost(places: list[tuple[int, int, int]]) -> None:
    lines = [line("w" * length, x, y) for x, y, length in places]
    found = " ".join(texts(ordered(lines, ()))).split()
    assert sorted(found) == sorted(one.text for one in lines)
