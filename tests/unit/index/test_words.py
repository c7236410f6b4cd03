# ruff: noqa: RUF001 — letters of many scripts
"""The normal form: whatever a producer writes, and whatever a person types, meet in the same terms."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoa.index.languages import language_of
from stoa.index.normalizing import folded, normal
from stoa.index.words import normal_terms, raw_terms, tokens

WORDS = (
    "Projektnummer",
    "Straße",
    "Müller",
    "résumé",
    "déjà",
    "ISTANBUL",
    "İstanbul",
    "отпуск",
    "Ελλάδα",
    "हिन्दी",
    "कर्मचारियों",
    "வணக்கம்",
    "ภาษาไทย",
    "公司的政策",
    "ERR-4711",
    "C++",
    "getUserName",
    "foo_bar.baz",
    "1,000,000",
)
INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u202a\ufe0f"


def words_of(text: str) -> set[str]:
    return set(raw_terms(text))


@given(some.lists(some.sampled_from(WORDS), min_size=1, max_size=6), some.data())
def test_invisible_characters_change_nothing(words: list[str], data: some.DataObject) -> None:
    text = " ".join(words)
    place = data.draw(some.integers(0, len(text)))
    assert list(raw_terms(text[:place] + data.draw(some.sampled_from(INVISIBLE)) + text[place:])) == list(
        raw_terms(text)
    )


@given(some.lists(some.sampled_from(WORDS), min_size=1, max_size=6), some.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_composed_and_decomposed_characters_are_the_same(words: list[str], form: str) -> None:
    text = " ".join(words)
    assert list(raw_terms(unicodedata.normalize(form, text))) == list(raw_terms(text))


@given(some.sampled_from([word for word in WORDS if word.isalpha() and word.isascii()]), some.data())
def test_marks_of_markdown_are_not_indexed(word: str, data: some.DataObject) -> None:
    first = data.draw(some.integers(0, len(word) - 1))
    last = data.draw(some.integers(first + 1, len(word)))
    mark = data.draw(some.sampled_from(["*", "**", "***", "`", "~~"]))
    marked = f"{word[:first]}{mark}{word[first:last]}{mark}{word[last:]}"
    assert list(raw_terms(f"a {marked} b")) == list(raw_terms(f"a {word} b"))


@given(some.text(max_size=80))
def test_any_text_has_terms_that_fit_and_its_tokens_hold_them(text: str) -> None:
    found = words_of(text)
    assert all(1 < len(term) <= 65 for term in found)
    assert normal(normal(text)) == normal(normal(normal(text)))
    assert len(list(raw_terms(text, "turkish"))) == len(list(raw_terms(text, "english")))


@given(some.lists(some.sampled_from([*WORDS, "a*b", "**x**", "_y_", "§ 12", "7,5"]), max_size=6))
def test_terms_of_tokens_are_those_of_the_text(words: list[str]) -> None:
    text = " ".join(words)
    assert {term for token in tokens(text) for term in normal_terms(token, "english")} == words_of(text)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("ERR-4711", "ERR4711"),
        ("ERR4711", "err-4711"),
        ("1,000,000", "1000000"),
        ("1.000.000", "1,000,000"),
        ("1\u00a0000\u00a0000", "1000000"),
        ("7,5 %", "7.5%"),
        ("e-mail", "email"),
        ("E\u2011Mail", "email"),
        ("ＡＢＣ１２３", "abc123"),
        ("٤٧١١", "4711"),
        ("سِيَاسَةُ", "سياسة"),
        ("שָׁלוֹם", "שלום"),
        ("Straße", "STRASSE"),
        ("foo\\_bar", "foo_bar"),
        ("猫粮", "猫"),
    ],
)
def test_spelling_variants_find_each_other(written: str, asked: str) -> None:
    wanted = set(raw_terms(asked, asked=True))
    assert {term[1:] for term in wanted} & {term[1:] for term in words_of(f"x {written} y")}


def test_letters_that_differ_stay_different() -> None:
    assert words_of("हिन्दी").isdisjoint(words_of("हिन्दू"))
    assert "wकर" not in words_of("कर्मचारियों")
    assert set(raw_terms("IĞDIR", "turkish")) == {"aığdır"}
    assert folded("й") == "й"
    assert words_of("2 * 3 * 4") == {"c2", "c3", "c4"}
    assert "c10.0.0.1" in words_of("10.0.0.1")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The notice period is three months, and it may be agreed otherwise in writing by both parties.", "english"),
        (
            "Die Kündigungsfrist beträgt drei Monate und kann von beiden Seiten nur schriftlich geändert werden.",
            "german",
        ),
        ("La durée du préavis est de trois mois et elle ne peut être modifiée que par écrit.", "french"),
        ("El plazo de preaviso es de tres meses y no se puede cambiar sin el acuerdo de las partes.", "spanish"),
        ("Срок уведомления составляет три месяца.", "russian"),
        ("कर्मचारियों की सूचना अवधि तीन महीने है।", "hindi"),
        ("مدة الإشعار ثلاثة أشهر", "arabic"),
        ("通知期限为三个月。", "simple"),
        ("ERR-4711", "danish"),
    ],
)
def test_the_language_of_an_item_is_told_by_its_words(text: str, language: str) -> None:
    assert language_of(text, "danish") == language
    assert language_of(text, "simple") == "simple"
