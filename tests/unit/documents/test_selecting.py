"""What is found, what is not, and what fits. The embedder here is honest and small: it counts letters in threes."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoa.documents.selecting import EMBEDDED_MAX, rank, select, tokens
from stoa.documents.terms import stem, terms
from stoa.documents.types import Passage

DOCUMENT = [
    Passage("Stoa is a server for conversations. Everything follows from one log.", 1, "Introduction"),
    Passage("Send a cancel request and the worker of the run closes the call to the model.", 2, "Canceling"),
    Passage("The deletion receipt lists rows and bytes that were removed from each store.", 3, "Deleting"),
    Passage("| Status | Code |\n| --- | --- |\n| 409 | conflict |\n| 429 | rate_limited |", 4, "Errors"),
    Passage("A reader that lost its connection resumes after the last sequence it has seen.", 5, "Resuming"),
]


class Letters:
    """Vectors of letter triples: near for shared word parts. Remembers how many texts it was given."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(len(texts))
        vectors = np.zeros((len(texts), 4096), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in terms(text):
                for start in range(max(len(word) - 2, 1)):
                    vectors[
                        row, sum(ord(letter) * 31**place for place, letter in enumerate(word[start : start + 3])) % 4096
                    ] += 1
        return vectors


async def best(question: str, embed: Letters | None = None) -> int | None:
    found = await rank(question, DOCUMENT, embed, 3)
    return found[0][0] if found else None


async def test_finds_the_passage_by_words_and_by_vectors() -> None:
    for embed in (None, Letters()):
        assert await best("What happens when a run is cancelled?", embed) == 1
        assert await best("What is in a deletion receipt?", embed) == 2
        assert await best("What does status 409 mean?", embed) == 3
        assert await best("How does a reader resume after a lost connection?", embed) == 4


async def test_an_unrelated_question_finds_nothing() -> None:
    for embed in (None, Letters()):
        for question in ("What is the capital of France?", "Who painted the Mona Lisa?", "the of and", "?!", "", "  "):
            assert await rank(question, DOCUMENT, embed, 5) == []
    assert await rank("deletion receipt", [], None, 5) == []
    assert await rank("deletion receipt", DOCUMENT, None, 0) == []


async def test_scores_fall_and_stay_between_zero_and_one() -> None:
    for embed in (None, Letters()):
        found = await rank("cancel request, deletion receipt, lost connection", DOCUMENT, embed, 2)
        assert len(found) == 2
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores)


async def test_a_single_passage_can_answer() -> None:
    assert [index for index, _ in await rank("deletion receipt", [DOCUMENT[2]], None, 3)] == [0]


async def test_a_query_that_the_embedder_cannot_read_uses_keywords_only() -> None:
    async def away(texts: Sequence[str]) -> None:
        return None

    assert await rank("deletion receipt", DOCUMENT, away, 3) == await rank("deletion receipt", DOCUMENT, None, 3)


async def test_of_many_passages_only_the_best_by_words_are_embedded() -> None:
    filler = [Passage(f"Entry {number} speaks of weather, wind and rain.") for number in range(3 * EMBEDDED_MAX)]
    embed = Letters()
    found = await rank("What is in a deletion receipt?", [*filler, DOCUMENT[2]], embed, 3)
    assert [index for index, _ in found] == [len(filler)]
    assert embed.asked == [EMBEDDED_MAX + 1]


async def test_ranking_ten_thousand_passages_takes_no_time_to_speak_of() -> None:
    passages = [
        Passage(f"Part {number}. " + "The quick brown fox jumps over the lazy dog. " * 8) for number in range(10_000)
    ]
    started = time.perf_counter()
    found = await rank("part 7777", passages, None, 1)
    assert found[0][0] == 7777
    assert time.perf_counter() - started < 10


async def test_select_gives_everything_that_fits_and_the_relevant_in_order_otherwise() -> None:
    other = [Passage("Bananas are yellow."), Passage("Every deletion receipt is signed.")]
    assert await select("deletion receipt", [DOCUMENT, other], 10_000, None) == [DOCUMENT, other]
    budget = tokens(DOCUMENT[1]) + tokens(DOCUMENT[2]) + tokens(other[1])
    chosen = await select("the deletion receipt of a cancel request", [DOCUMENT, other], budget, None)
    assert chosen == [[DOCUMENT[1], DOCUMENT[2]], [other[1]]]


async def test_select_never_passes_the_budget_and_falls_back_to_the_beginnings() -> None:
    other = [Passage("First of the other."), Passage("Second of the other.")]
    for question in ("deletion receipt", "summarize it"):
        for budget in range(0, 120, 7):
            chosen = await select(question, [DOCUMENT, other], budget, None)
            assert sum(tokens(passage) for document in chosen for passage in document) <= budget
    beginnings = await select("summarize it", [DOCUMENT, other], tokens(DOCUMENT[0]) + tokens(other[0]), None)
    assert beginnings == [DOCUMENT[:1], other[:1]]


def test_inflected_forms_have_one_stem() -> None:
    for family in (
        "delete deletes deleted deleting deletion",
        "cancel cancels canceled cancelled",
        "resume resumes resuming",
        "query queries",
        "stop stopped",
        "limit limits limited",
        "status",
        "run running",
    ):
        assert len({stem(word) for word in family.split()}) == 1, family
    assert terms("Don't the server\u2019s 3 readers READ run.failed?") == ["serv", "3", "read", "read", "run", "fail"]
