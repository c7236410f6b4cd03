# ruff: noqa: RUF001 — these are the characters themselves
"""Decodes bytes to text: by a byte order mark, a declaration, valid UTF-8, or a guess with a measure of its certainty.
Pure.
"""

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from stoa.documents.types import ConversionError

SAMPLE_BYTES: Final = 8_000
DECLARED_WITHIN: Final = 4_096
SURE: Final = 0.35
"""The score below which no guess is made. Text scores .6 to 1, bytes that are no text below .2."""

_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
MARKS: Final = tuple(mark for mark, _ in _MARKS)
_USED_BLOCKS: Final = frozenset(
    (0x00, 0x01, 0x03, 0x04, 0x05, 0x06, *range(0x09, 0x12), 0x1E, 0x20, 0x21, 0x30, 0xFF)
) | {
    *range(0x4E, 0xA0),
    *range(0xAC, 0xD8),
}
"""Upper bytes of common characters. Bytes that are not text hit the other characters as often."""
_META: Final = re.compile(rb"""<meta\s[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_XML: Final = re.compile(rb"""^\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{2,40})["']""", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_AS_BROWSERS: Final = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
"""Names that mean their superset in practice, as browsers read them."""

_PUNCTUATION: Final = frozenset("„“”‚‘’–—…«»‹›•€£°·©®™§½¼¾²³ºª\xa0")
_BEHIND_WORDS: Final = frozenset("’”»›‘“\xa0·…–—®™°ºª²³€•")
_APART: Final = frozenset("•‹›…°™®©")
"""Letters that no other letter follows without a space."""
_WESTERN: Final = "äöüßÄÖÜéèêëÉÈÊàâÀÂçÇîïôûùáíóúñÁÍÓÚÑãõÃÕåæøÅÆØœŒ¿¡òì"
_POLISH: Final = "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ"
_CZECH: Final = "ěščřžýáíéúůďťňóľĺŕôäĚŠČŘŽÝÁÍÉÚŮĎŤŇÓĽ"
_LONG_VOWELS: Final = re.compile("[õûÕÛ]")
_HUNGARIAN_WORDS: Final = re.compile(r"\b(?:az|és|hogy|nem|egy|van|volt|vagy|csak)\b", re.IGNORECASE)
_ROMANCE: Final = re.compile(r"ões|ção|ção|ñ|\b(?:le|la|les|des|não|uma|du|et)\b", re.IGNORECASE)
_HUNGARIAN: Final = "őűáéíóöúüŐŰÁÉÍÓÖÚÜ"
_ROMANIAN: Final = "ăâîşţĂÂÎŞŢ"
_CROATIAN: Final = "čćđšžČĆĐŠŽ"
_TURKISH: Final = "ığşçöüâîİĞŞÇÖÜ"
_BALTIC: Final = "āčēģīķļņšūžąęėįųõäöüĀČĒĢĪĶĻŅŠŪŽĄĘĖĮŲÕ"
_CYRILLIC: Final = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєґ"
_GREEK: Final = "αοιετσνηυρπκμλςωάέήίόύώθδγχφβξζψ"
_HEBREW: Final = "יוהלאמתרבשנעדקפחסגזטצכםןץךף"
_ARABIC: Final = "اليمنوترهبعدةسفقحكجشصطأخذثزضغىءإظئؤآ"
_THAI: Final = "านรกอเงมยลวดตสทบปคะแพชจหนขใโไถธผซศณษึุูาำิีืั่้๊๋็์ฉฐภฟฎฏญฌฑฒฆฝฮฬฤๆฯ"
_THAI_SIGNS: Final = re.compile("[\u0e31\u0e33-\u0e3a\u0e47-\u0e4e]")
"""Thai vowels and tones that are written on the consonant before them, so a word never begins with one."""
_KANA: Final = frozenset(map(chr, (*range(0x3041, 0x3094), *range(0x30A1, 0x30FD)))) | frozenset("、。「」")
_HANGUL: Final = frozenset(
    "이다는의가에을를한하고로은지사기도인자대시정해서리어나수아보부전제일과장상그구주여있니라원스적안연으비성동만공국소"
    "치경신무세교우관계방면중위거조것생오마유개들용금학선불환모든객책게습고요할때당문제발실없같내미화명회입음합결"
)
_SIMPLIFIED: Final = frozenset(
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于"
    "起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工"
    "己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太"
    "水万市员客户编号姓退款策所条价格订单报销税率料粮猫司公服务合同数据"
)
_TRADITIONAL: Final = frozenset(
    "的一是不了人我在有他這中大來上國個到說們為子和你地出道也時年得就那要下以生會自著去之過家學對可她裡後小麼心多天而能好都然沒日於"
    "起還發成事只作當想看文無開手十用主行方又如前所本見經頭面公同三已老從動兩長知民樣現分將外但身些與高意進把法此實回二理美點月明其種聲全工"
    "適客戶退款政策所價格訂單報稅率司服務合約數據。，"
)


_COMMON_LETTERS: Final = (
    _KANA | _HANGUL | _SIMPLIFIED | _TRADITIONAL
    | frozenset(_CYRILLIC + _CYRILLIC.upper() + _GREEK + _GREEK.upper() + _HEBREW + _ARABIC + _THAI)
    | frozenset("，：；？！（）ー")
)  # fmt: skip
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SHIFTED: Final = ((re.compile(rb"\x1b\$[@B]"), "iso2022_jp_2"), (re.compile(rb"\x1b\$\)C"), "iso2022_kr"))
"""Seven-bit encodings with escape sequences between two alphabets."""
COMMON_SHARE: Final = 0.45
"""The share of letters that are among the commonest few hundred: in text decoded at the wrong byte offset it is a
hundredth."""

Script: TypeAlias = Literal["latin", "alphabet", "wide"]
"""How the characters look in bytes: accents among ASCII letters, another alphabet, or two bytes per character."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    encoding: str
    title: str
    common: str | frozenset[str]
    """An alphabet's letters by frequency, so that letters of one alphabet are not taken for those of another."""
    script: Script = "latin"
    prior: float = 1.0


_TOP_LETTERS: Final = 12
_CANDIDATES: Final = (
    _Candidate("cp1252", "Windows-1252", _WESTERN),
    _Candidate("cp1250", "Windows-1250", _POLISH),
    _Candidate("cp1250", "Windows-1250", _CZECH),
    _Candidate("cp1250", "Windows-1250", _HUNGARIAN),
    _Candidate("cp1250", "Windows-1250", _ROMANIAN),
    _Candidate("cp1250", "Windows-1250", _CROATIAN),
    _Candidate("cp1254", "Windows-1254", _TURKISH),
    _Candidate("cp1257", "Windows-1257", _BALTIC),
    _Candidate("cp1251", "Windows-1251", _CYRILLIC, "alphabet"),
    _Candidate("koi8_u", "KOI8", _CYRILLIC, "alphabet"),
    _Candidate("cp866", "IBM 866", _CYRILLIC, "alphabet", prior=0.9),
    _Candidate("cp1253", "Windows-1253", _GREEK, "alphabet"),
    _Candidate("cp1255", "Windows-1255", _HEBREW, "alphabet"),
    _Candidate("cp1256", "Windows-1256", _ARABIC, "alphabet"),
    _Candidate("iso8859_6", "ISO 8859-6", _ARABIC, "alphabet", prior=0.95),
    _Candidate("cp874", "Windows-874", _THAI, "alphabet", prior=0.95),
    _Candidate("gb18030", "GBK", _SIMPLIFIED, "wide"),
    _Candidate("cp932", "Shift-JIS", _KANA, "wide"),
    _Candidate("euc_jp", "EUC-JP", _KANA, "wide"),
    _Candidate("cp949", "EUC-KR", _HANGUL, "wide"),
    _Candidate("big5", "Big5", _TRADITIONAL, "wide"),
    _Candidate("iso8859_15", "ISO 8859-15", _WESTERN, prior=0.95),
    _Candidate("iso8859_2", "ISO 8859-2", _POLISH, prior=0.95),
    _Candidate("iso8859_2", "ISO 8859-2", _CZECH, prior=0.95),
    _Candidate("iso8859_2", "ISO 8859-2", _HUNGARIAN, prior=0.95),
    _Candidate("iso8859_2", "ISO 8859-2", _CROATIAN, prior=0.95),
    _Candidate("iso8859_5", "ISO 8859-5", _CYRILLIC, "alphabet", prior=0.95),
    _Candidate("cp852", "IBM 852", _POLISH, prior=0.85),
    _Candidate("cp852", "IBM 852", _CZECH, prior=0.85),
    _Candidate("cp852", "IBM 852", _HUNGARIAN, prior=0.85),
    _Candidate("cp850", "IBM 850", _WESTERN, prior=0.85),
    _Candidate("mac_roman", "Mac Roman", _WESTERN, prior=0.85),
)


def decode(data: bytes, name: str, declared: str | None = None, *, html: bool = False) -> tuple[str, list[str]]:
    """The text, and a warning where the character set was guessed or characters were replaced. `declared` is a
    Content-Type.

    Raises:
        ConversionError: `unknown_encoding` for bytes that are text in none of the known character sets.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _replaced(data, encoding, name)
    warnings: list[str] = []
    for encoding in _declared(data, declared, html=html):
        if encoding == "cp1252" and not data.isascii() and _is_utf8(data):
            break  # Programs write this name by default, whatever they encode; other text is not valid UTF-8 by chance.
        try:
            return data.decode(encoding), warnings
        except UnicodeDecodeError:
            warnings = [f"{name} says that it is {encoding}, but it is not."]
    for pattern, encoding in _SHIFTED:
        if pattern.search(data, 0, SAMPLE_BYTES) and data.isascii():
            return _replaced(data, encoding, name)
    if wide := wide_encoding(data):
        text, more = _replaced(data, wide, name)
        return text, [*warnings, f"{name} was read as {wide.upper()}, which it does not say.", *more]
    try:
        return data.decode("utf-8"), warnings
    except UnicodeDecodeError:
        pass
    # Mostly UTF-8 with a few broken bytes is UTF-8.
    replaced = data.decode("utf-8", errors="replace")
    broken = replaced.count("\ufffd")
    if sum(1 for character in replaced if ord(character) > 127) - broken > broken:
        return replaced, [*warnings, f"{name} is not valid UTF-8; {broken} unreadable characters were replaced."]
    text, warning = _guessed(data, name)
    return text, [*warnings, warning]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, recognized by the positions of its zero bytes; None for anything
    else."""
    head = data[: SAMPLE_BYTES - SAMPLE_BYTES % 4]
    head = head[: len(head) - len(head) % 2]
    zeros = head.count(0)
    if len(head) < 4:
        return None
    if not zeros:
        return _wide_by_letters(head)
    odd, even = head[1::2].count(0), head[0::2].count(0)
    fours = head[: len(head) - len(head) % 4]
    for encoding, upper in (("utf-32-le", fours[3::4]), ("utf-32-be", fours[0::4])):
        if upper and not upper.strip(b"\0") and zeros >= len(head) * 0.45 and _is_text(fours, encoding):
            return encoding
    if max(odd, even) < 8 * min(odd, even) or max(odd, even) < len(head) // 50:
        return _wide_by_letters(head)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    return encoding if _is_text(head, encoding) else _wide_by_letters(head)


def _wide_by_letters(head: bytes) -> str | None:
    """UTF-16 of scripts without zero bytes: decoded, it consists of common letters, and the bytes are not valid
    UTF-8."""
    if head.isascii() and not _CONTROLS.search(head):
        return None
    if not head.isascii() and _is_utf8(head[: SAMPLE_BYTES - 4]):
        return None
    for encoding in ("utf-16-le", "utf-16-be"):
        if not _is_text(head, encoding):
            continue
        text = codecs.getincrementaldecoder(encoding)().decode(head)
        letters = [one for one in text if not one.isascii()]
        common = sum(one in _COMMON_LETTERS or one in _PUNCTUATION for one in letters)
        if letters and common >= COMMON_SHARE * len(letters) and len(letters) * 4 >= len(text):
            return encoding
    return None


def _is_text(head: bytes, encoding: str) -> bool:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    plausible = sum((one.isprintable() and ord(one) >> 8 in _USED_BLOCKS) or one in "\r\n\t" for one in text)
    return plausible >= len(text) * 0.98


def _declared(data: bytes, declared: str | None, *, html: bool) -> Iterable[str]:
    """The declared encodings; the transport's declaration comes before the document's own."""
    head = data[:DECLARED_WITHIN]
    named = [found[1] for found in (_PARAMETER.search(declared or ""),) if found]
    inside = _XML.search(head) or (_META.search(head) if html else None)
    if inside:
        named.append(inside[1].decode("ascii"))
    for one in named:
        try:
            encoding = codecs.lookup(one).name
        except LookupError:
            continue
        encoding = _AS_BROWSERS.get(encoding, encoding)
        # Without zero bytes it is not what was declared.
        if not encoding.startswith(("utf-16", "utf-32")) or b"\0" in head:
            yield encoding


def _replaced(data: bytes, encoding: str, name: str) -> tuple[str, list[str]]:
    text = data.decode(encoding, errors="replace")
    count = text.count("\ufffd")
    return text, [f"{name}: {count} unreadable characters were replaced."] if count else []


def _guessed(data: bytes, name: str) -> tuple[str, str]:
    sample = _sample(data)
    scored = sorted(((_score(sample, one), -at) for at, one in enumerate(_CANDIDATES)), reverse=True)
    for score, at in scored:
        if score < SURE:
            break
        candidate = _CANDIDATES[-at]
        try:
            text = data.decode(candidate.encoding)
        except UnicodeDecodeError:
            continue
        if candidate.common is _WESTERN and candidate.encoding == "cp1252" and _is_hungarian(text):
            candidate = next(one for one in _CANDIDATES if one.common is _HUNGARIAN)
            text = data.decode(candidate.encoding, "replace")
        sure = round(100 * min(1.0, score))
        return text, f"{name} is not UTF-8; it was read as {candidate.title}, which fits to {sure} percent."
    raise ConversionError(
        "unknown_encoding", f"{name} is text in no character set that could be recognized; save it as UTF-8."
    )


def _is_hungarian(text: str) -> bool:
    """Whether text decoded as Western has, among Hungarian words, the letters that Hungarian's ő and ű decode to."""
    return bool(_LONG_VOWELS.search(text)) and bool(_HUNGARIAN_WORDS.search(text)) and not _ROMANCE.search(text)


def _sample(data: bytes) -> bytes:
    """Lines with non-ASCII bytes: only they help to decide."""
    found: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            found.append(line)
            size += len(line)
            if size > SAMPLE_BYTES:
                break
    return b"\n".join(found)


def _score(sample: bytes, candidate: _Candidate) -> float:
    """The mean score of the non-ASCII characters: 1 for a common one, less for a rare one, below zero for one that no
    text contains."""
    try:
        text = sample.decode(candidate.encoding)
    except UnicodeDecodeError:
        return -1.0
    points = count = 0.0
    plain = foreign = 0
    before = " "
    for character in text:
        if ord(character) > 127:
            count += 1
            points += _points(character, before, candidate)
            foreign += character.isalpha()
        elif candidate.script == "alphabet" and character.isalpha() and before.isalpha() and not before.isascii():
            points -= 1
        else:
            plain += character.isalpha()
        before = character
    prior = candidate.prior * (0.5 if candidate.script == "latin" and foreign > max(2, 2 * plain) else 1.0)
    return prior * points / count if count else -1.0


def _points(character: str, before: str, candidate: _Candidate) -> float:
    lower = character.lower()
    if candidate.script == "alphabet" and character.isalpha() and before.isascii() and before.isalpha():
        return -1.0  # No word mixes two alphabets.
    if before == "ς" and character.isalpha():
        return -1.0  # The final form of a letter, within a word.
    if candidate.common is _THAI and _THAI_SIGNS.match(character) and not "\u0e01" <= before <= "\u0e4e":
        return -1.0
    if character in candidate.common or lower in candidate.common:
        if before.islower() and character.isupper():
            return 0.0
        if candidate.script == "wide":
            return 1.0
        if candidate.script == "latin":  # Accented letters are rarely neighbours.
            return 0.4 if before in _APART or (before.isalpha() and not before.isascii()) else 1.0
        if before in _APART:
            return 0.3
        known = lower in _top(candidate)
        return (1.0 if known else 0.6) * (1.0 if character == lower else 0.9)
    if character in _PUNCTUATION:
        return 0.9 if character in _BEHIND_WORDS or not before.isalpha() else 0.3
    if candidate.script == "wide":
        return _wide_points(character, candidate)
    return -0.3 if character.isalpha() else -1.0


def _top(candidate: _Candidate) -> str | frozenset[str]:
    """The commonest letters of an alphabet; twice as many for Thai, whose vowels and tones are letters too."""
    common = candidate.common
    return common if isinstance(common, frozenset) else common[: _TOP_LETTERS * (1 + (common is _THAI))]


def _wide_points(character: str, candidate: _Candidate) -> float:
    code = ord(character)
    if "\u4e00" <= character <= "\u9fff":
        if candidate.common is _HANGUL:
            return -0.3
        if candidate.encoding == "gb18030":
            pair = character.encode("gb18030")
            return 0.45 if len(pair) == 2 and 0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1 else -0.2
        if candidate.encoding == "big5":
            return 0.4 if 0xA4 <= character.encode("big5")[0] <= 0xC6 else -0.1
        if candidate.encoding == "cp932":
            return 0.6 if 0x88 <= character.encode("cp932")[0] <= 0x97 else 0.0
        return 0.42 if 0xB0 <= character.encode("euc_jp")[0] <= 0xCF else 0.0
    if 0xAC00 <= code <= 0xD7A3:
        return 0.3
    if 0x3000 <= code <= 0x303F or 0xFF01 <= code <= 0xFF5E:
        return 0.6
    return -0.6
