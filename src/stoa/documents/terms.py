"""Words for ranking: lower case, stemmed, without stop words. Pure."""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_ENDINGS: Final = ("ingly", "edly", "ions", "ion", "ings", "ing", "ies", "ied", "ers", "ed", "er", "es", "ly", "s")
_STEM_MIN: Final = 3
_ION_ROOT_MIN: Final = 4

_STOP: Final = (
    "a about after again all also am an and any are as at be been before being but by can could did do does doing "
    "done down     each for from get gets had has have having he her here him his how i if in into is it its just "
    "let like made make many may     me might more most much must my no nor not now of off on once one only or "
    "other our out over own please same say says she     should so some such tell than that the their them then "
    "there these they this those through to too under until up us use     used using very was way we were what when "
    "where which while who whom why will with would you your "
    # Words of questions that answers do not contain.
    "happen happens happened mean means explain describe know want need please show give there"
)
STOP_WORDS: Final = frozenset(_STOP.split())


def terms(text: str) -> list[str]:
    """The meaningful words of a text, in order, repeated as often as they stand there."""
    found: list[str] = []
    for match in _WORD.finditer(text.lower()):
        word = match.group().replace("\u2019", "'")
        word = word.partition("'")[0] if word.endswith(("'s", "'re", "'ve", "'ll", "'d")) else word
        if word and word not in STOP_WORDS and not word.endswith("n't"):
            found.append(stem(word))
    return found


def stem(word: str) -> str:
    """Removes common English endings, so that `deletes`, `deleted` and `deleting` are equal. Deliberately weak: a wrong
    match costs more than a missed one. Words with digits or other alphabets stay unchanged."""
    if not (word.isascii() and word.isalpha()) or len(word) <= _STEM_MIN:
        return word
    for ending in _ENDINGS:
        root = word.removesuffix(ending)
        if root == word or len(root) < _STEM_MIN or not re.search("[aeiouy]", root):
            continue
        if ending == "s" and root.endswith(("s", "u", "i")):
            return word
        if ending in {"ion", "ions"} and (len(root) <= _ION_ROOT_MIN or root[-1] not in "st"):
            continue
        if ending in {"ies", "ied"}:
            return root + "y"
        return _undoubled(root)
    return word.removesuffix("e") if len(word) > _STEM_MIN + 1 else word


def _undoubled(root: str) -> str:
    """`cancell` and `cancel`, `stopp` and `stop`; the silent e goes too (`resum`, as `resume` gives)."""
    if len(root) > _STEM_MIN and root[-1] == root[-2] and root[-1] not in "aeiousz":
        return root[:-1]
    return root.removesuffix("e") if len(root) > _STEM_MIN + 1 else root
