# ruff: noqa: RUF001 — letters of many scripts
"""No passage is longer than its embedder reads, in any script, and no word is lost."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from stoa.documents import Passage, embedded_text, fitted, passages
from stoa.embedding import LocalEmbedder

SENTENCES = {
    "english": "The quick brown fox jumps over the lazy dog near the river bank. ",
    "german": "Die Bundesversicherungsanstalt verwaltet Beitragsrückerstattungen ordnungsgemäß. ",
    "russian": "Срок уведомления составляет три месяца и изменяется по соглашению. ",
    "greek": "Η προθεσμία καταγγελίας είναι τρεις μήνες για όλους τους εργαζομένους. ",
    "arabic": "مدة الإشعار ثلاثة أشهر ولا يمكن تغييرها إلا كتابة. ",
    "hebrew": "תקופת ההודעה המוקדמת היא שלושה חודשים לכל העובדים. ",
    "hindi": "कर्मचारियों की सूचना अवधि तीन महीने है और लिखित में बदली जा सकती है। ",
    "thai": "ระยะเวลาแจ้งล่วงหน้าคือสามเดือนสำหรับพนักงานทุกคน ",
    "chinese": "通知期限为三个月，经双方书面同意可以更改。",
    "korean": "통지 기간은 세 달이며 서면 합의로 변경할 수 있습니다. ",
    "unbroken": "0123456789abcdef",
}


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> LocalEmbedder:
    return LocalEmbedder(Path(tmp_path_factory.mktemp("weights")))


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize("heading", [None, "Fristen und Termine " * 9])
async def test_no_passage_has_an_unread_end(embedder: LocalEmbedder, script: str, heading: str | None) -> None:
    await embedder.prepare()

    def tokenize(texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        return [tokens.spans for tokens in embedder.tokenize(texts)]

    text = SENTENCES[script] * 60
    cut = passages(text, None, heading)
    found = fitted(cut, "A title", embedder.tokens_max, tokenize)
    for passage in found:
        assert len(tokenize([embedded_text(passage, "A title")])[0]) + 2 <= embedder.tokens_max
    joined, whole = "".join("".join(one.text for one in found).split()), "".join(text.split())
    assert joined == whole


async def test_every_piece_of_a_table_has_its_header_and_short_passages_stay(embedder: LocalEmbedder) -> None:
    await embedder.prepare()

    def tokenize(texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        return [tokens.spans for tokens in embedder.tokenize(texts)]

    rows = "\n".join(f"| ключ {number} | значение {number} |" for number in range(60))
    table = Passage(f"| Имя | Ценность |\n|---|---|\n{rows}", rows=(1, 60))
    short = Passage("Short.")
    first, *pieces = fitted([short, table], None, 128, tokenize)
    assert first is short
    assert len(pieces) > 2
    assert all(piece.text.startswith("| Имя | Ценность |\n|---|---|\n") for piece in pieces)
    assert all(len(tokenize([piece.text])[0]) + 2 <= 128 for piece in pieces)
    assert all(one != other for one, other in pairwise(pieces))
