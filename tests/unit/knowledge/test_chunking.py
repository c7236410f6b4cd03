"""Passages: nothing lost, nothing too long, every piece of a table under its header."""

import random

from stoa.knowledge.chunking import CHARACTERS_MAX, CHARACTERS_MIN, last_heading, passages

WORDS = ["stream", "event", "run", "journal", "sequence", "reader", "node", "lease", "commit", "answer", "token", "worker"]


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
    assert sum(len(one.text) >= CHARACTERS_MIN for one in long_ones) >= len(long_ones) - 1


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
    sections = ["\n\n".join([f"## Part {number}", *(prose(5, number * 10 + part) for part in range(6))]) for number in range(30)]
    before = {(one.heading, one.text) for one in passages("\n\n".join(sections))}
    sections[10] = sections[10].replace("stream", "changed and longer", 1)
    after = {(one.heading, one.text) for one in passages("\n\n".join(sections))}
    assert {heading for heading, _ in after - before} == {"Part 10"}
    assert 1 <= len(after - before) <= 0.03 * len(before)
