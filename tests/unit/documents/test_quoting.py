"""What is quoted of a passage: sentences, list items, rows under their header; nothing where nothing is relevant."""

from stoa.documents import Passage
from stoa.documents.quoting import quote

EVENTS = Passage(
    "## Events\n\nEvery event has a sequence. The stream closes after the terminal event. After 15 seconds of "
    "silence the server sends a heartbeat"
    " comment. Proxies keep the connection open.",
    2,
    "Events",
)
LIMITS = Passage(
    "The limits are these.\n\n| Limit | Value |\n| --- | --- |\n| Upload | 128 MiB |\n| Silence before a heartbeat | "
    "15 seconds |",
    4,
    "Limits",
)
STEPS = Passage(
    "To restore a backup:\n\n1. Stop the server.\n2. Copy the snapshot back,\n   with its owner.\n3. Start the "
    "server again.",
    5,
    "Backups",
)
CODE = Passage("Call it like this:\n\n```python\nclient.runs.cancel(run_id)\n```\n\nIt answers at once.", 6, "Calls")


async def said(question: str, *passages: Passage) -> list[tuple[int, str]]:
    return await quote(question, passages, None, 4)


async def test_only_the_sentence_that_answers() -> None:
    assert await said("When does the server send a heartbeat?", STEPS, EVENTS) == [
        (1, "After 15 seconds of silence the server sends a heartbeat comment."),
    ]


async def test_a_row_keeps_the_names_of_its_columns() -> None:
    (found,) = await said("silence before heartbeat", LIMITS)
    assert found == (0, "| Limit | Value |\n| --- | --- |\n| Silence before a heartbeat | 15 seconds |")


async def test_an_item_keeps_its_lines() -> None:
    (found,) = await said("copy the snapshot", STEPS)
    assert found == (0, "2. Copy the snapshot back,\n   with its owner.")


async def test_code_is_not_cut() -> None:
    (found,) = await said("client.runs.cancel", CODE)
    assert found == (0, "```python\nclient.runs.cancel(run_id)\n```")


async def test_what_was_left_out_between_two_sentences_is_marked() -> None:
    text = "The lease lasts five seconds. Coffee is served at noon. A lost lease ends the worker."
    (found,) = await said("seconds that a lease lasts, worker of a lost lease", Passage(text))
    assert found == (0, "The lease lasts five seconds. … A lost lease ends the worker.")


async def test_a_passage_that_is_relevant_as_a_whole_is_quoted_as_a_whole() -> None:
    spread = Passage(
        "Restoring takes minutes. Backups are kept for a week. Snapshots are small. Retention can be set.", 1, None
    )
    (found,) = await said("restoring backups snapshots retention schedule encryption compression", spread)
    assert found == (0, spread.text)


async def test_sentences_keep_their_quotes() -> None:
    text = 'The server said "It is busy." The client waited (e.g. for a minute.) Then it sent the letter again.'
    assert await said("What did the busy server say?", Passage(text)) == [(0, 'The server said "It is busy."')]


async def test_irrelevant_passages_give_no_quotes() -> None:
    assert await said("Who won the football match?", EVENTS, LIMITS, STEPS) == []
    assert await said("anything", Passage("")) == []
