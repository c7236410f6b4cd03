"""Passages: nothing lost, nothing too long, every piece of a table under its header."""

import random

import pytest

from stoa.documents.chunking import CHARACTERS_MAX, last_heading, passages

WORDS = [
    "stream",
    "event",
    "run",
    "journal",
    "sequence",
    "reader",
    "node",
    "lease",
    "commit",
    "answer",
    "token",
    "worker",
]


def prose(sentences: int, seed: int) -> str:
    chance = random.Random(seed)
    made = (" ".join(chance.choices(WORDS, k=chance.randint(6, 18))).capitalize() + "." for _ in range(sentences))
    return " ".join(made)


def test_blank_text_gives_nothing() -> None:
    assert passages("") == []
    assert passages(" \n\n\t\n") == []


def test_a_short_text_is_one_passage_with_its_page() -> None:
    [only] = passages("Just a sentence.", 7)
    assert (only.text, only.page, only.heading) == ("Just a sentence.", 7, None)


def test_no_word_is_lost_and_no_passage_is_too_long() -> None:
    text = "\n\n".join(f"## Part {number}\n\n{prose(number * 4, number)}" for number in range(1, 12))
    made = passages(text)
    assert "".join(" ".join(one.text for one in made).split()) == "".join(text.split())
    assert max(len(one.text) for one in made) <= CHARACTERS_MAX
    long_ones = [one for one in made if one.heading == "Part 11"]
    assert sum(len(one.text) >= CHARACTERS_MAX // 5 for one in long_ones) >= len(long_ones) - 1


def test_the_nearest_heading_is_kept_and_carried_over_the_page() -> None:
    text = "before\n\n# One\n\nfirst\n\n## Two **bold**\n\nsecond\n\n```\n# no heading\n```"
    assert [one.heading for one in passages(text, heading="Page before")] == ["Page before", "One", "Two bold"]
    assert last_heading(text, "Page before") == "Two bold"
    assert last_heading("only words", "Page before") == "Page before"


def test_a_title_with_nothing_under_it_stays_with_what_follows() -> None:
    [only] = passages("# Title\n\n## Subtitle\n\ntext")
    assert only.text == "# Title\n\n## Subtitle\n\ntext"
    assert only.heading == "Subtitle"


def test_every_piece_of_a_table_has_the_header() -> None:
    rows = [f"| item {number} | {number * 3} euros |" for number in range(200)]
    made = passages("\n".join(["# Prices", "", "| Item | Price |", "| --- | --- |", *rows, "", "The end."]))
    pieces = [one for one in made if "euros" in one.text]
    assert len(pieces) > 3
    assert all("| Item | Price |\n| --- | --- |\n| item" in one.text for one in pieces)
    assert [line for one in pieces for line in one.text.splitlines() if "euros" in line] == rows
    assert {one.heading for one in made} == {"Prices"}
    assert max(len(one.text) for one in made) <= CHARACTERS_MAX


def test_rows_and_headers_too_long_for_a_passage_are_cut_all_the_same() -> None:
    long_row = "| " + "x" * 5_000 + " | y |"
    wide_head = "| " + " | ".join(f"column {number}" for number in range(200)) + " |"
    for table in (f"| a | b |\n| --- | --- |\n{long_row}", f"{wide_head}\n{'|---' * 200}|\n{'| v ' * 200}|"):
        made = passages(table)
        assert max(len(one.text) for one in made) <= CHARACTERS_MAX
        assert sum(one.text.count("x") for one in made) == table.count("x")


def test_an_edit_moves_only_cuts_of_its_own_section() -> None:
    sections = [
        "\n\n".join([f"## Part {number}", *(prose(5, number * 10 + part) for part in range(6))]) for number in range(30)
    ]
    before = {(one.heading, one.text) for one in passages("\n\n".join(sections))}
    sections[10] = sections[10].replace("stream", "changed and longer", 1)
    after = {(one.heading, one.text) for one in passages("\n\n".join(sections))}
    assert {heading for heading, _ in after - before} == {"Part 10"}
    assert 1 <= len(after - before) <= 0.03 * len(before)


def said(seed: int, sentences: int, join: str) -> str:
    return join.join(f"{one}." for one in prose(sentences, seed).removesuffix(".").split(". "))


LONG = {
    "sections": "\n\n".join(
        f"## Section {number}\n\n{said(number, 20, ' ')}\n\n{said(-number, 20, ' ')}" for number in range(1, 60)
    ),
    "paragraphs": "\n\n".join(said(number, 5, " ") for number in range(500)),
    "lines": said(1, 3_000, "\n"),
    "one line": said(2, 3_000, " "),
    "table": "| a | b |\n| --- | --- |\n"
    + "\n".join(f"| {number} | {said(number, 1, ' ')} |" for number in range(3_000)),
    "code": "```python\n"
    + "\n".join(f"def f{number}(x):\n    # {said(number, 1, ' ')}\n    return x\n" for number in range(1_500))
    + "\n```",
    "json": "```json\n[\n"
    + ",\n".join(f'  {{"id": {number}, "note": "{said(number, 1, " ")}"}}' for number in range(4_000))
    + "\n]\n```",
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("where", [0.05, 0.4, 0.8])
def test_an_edit_of_a_hundredth_changes_few_passages(kind: str, where: float) -> None:
    text = LONG[kind]
    at = text.index("\n", int(len(text) * where)) + 1 if "\n" in text else text.index(" ", int(len(text) * where)) + 1
    rows = "\n".join(f"| new | {said(number, 1, ' ')} |" for number in range(len(text) // 10_000))
    new = (rows if kind == "table" else said(7, len(text) // 8_000, " ")) + "\n"
    before = {one.text for one in passages(text)}
    for edited in (
        text[:at] + new + text[at:],
        text[:at] + text[at + len(new) :],
        text[:at] + new + text[at + len(new) :],
    ):
        after = [one.text for one in passages(edited)]
        assert sum(one not in before for one in after) <= 0.03 * len(after)


@pytest.mark.parametrize("kind", LONG)
def test_no_word_is_lost(kind: str) -> None:
    found = " ".join(one.text for one in passages(LONG[kind])).split()
    assert set(LONG[kind].split()) <= set(found)


def test_a_fence_ends_with_marks_of_its_own_length() -> None:
    made = passages("# Top\n\n````md\n```\n# no heading\n```\n````\n\nend", size=1000)
    assert {one.heading for one in made} == {"Top"}


def test_pieces_of_a_table_say_which_rows_they_are() -> None:
    rows = [f"| {number} | {'x' * (number % 60)} |" for number in range(1, 301)]
    cut = passages("\n".join(["Prices of all parts.", "", "| number | marks |", "|---|---|", *rows]))
    pieces = [one for one in cut if one.rows]
    assert len(pieces) > 5
    told = []
    for one in pieces:
        assert one.rows is not None
        told += range(one.rows[0], one.rows[1] + 1)
        assert [line for line in one.text.splitlines() if line in rows] == rows[one.rows[0] - 1 : one.rows[1]]
    assert told == list(range(1, 301))
    assert passages("a | b\n--- | ---\n1 | 2")[0].rows == (1, 1)
    assert passages("Only words.")[0].rows is None
