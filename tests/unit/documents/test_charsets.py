# ruff: noqa: RUF001 — these are the characters themselves
"""Which characters bytes stand for: marks, declarations, guesses, and what is no text at all."""

from random import Random

import pytest

from stoa.documents.converting.charsets import decode, wide_encoding
from stoa.documents.types import ConversionError

SENTENCES = (
    ("naïve café", "cp1252"),
    ("It’s “quoted” – for 5 €", "cp1252"),
    ("Größe und Maß, § 5", "cp1252"),
    ("MÜLLER GRÖSSE", "cp1252"),
    ("Name;Preis\nMüller;1,25\n", "cp1252"),
    ("mañana el niño", "cp1252"),
    ("Zażółć gęślą jaźń", "cp1250"),
    ("Příliš žluťoučký kůň", "cp1250"),
    ("İstanbul ığdır şeker", "cp1254"),
    ("Ķīļi un žogi", "cp1257"),
    ("Возврат денег за билет", "cp1251"),
    ("ВОЗВРАТ", "cp1251"),
    ("Возврат денег за билет", "koi8_r"),
    ("Возврат денег за билет", "cp866"),
    ("Πολιτική επιστροφών", "cp1253"),
    ("מדיניות החזרים", "cp1255"),
    ("سياسة الاسترداد", "cp1256"),
    ("นโยบายการคืนเงิน", "cp874"),
    ("订单编号,客户\nK-1,张三\n", "gbk"),
    ("退款政策適用於所有客戶", "big5"),
    ("返金ポリシーについて", "shift_jis"),
    ("顧客番号,氏名\n山田太郎", "shift_jis"),
    ("返金ポリシーについて", "euc_jp"),
    ("환불 정책은 모든 고객에게", "euc_kr"),
    ("Müller Straße", "cp850"),
    ("Zażółć gęślą jaźń", "iso8859_2"),
    ("Příliš žluťoučký kůň", "cp852"),
    ("Az éves szabadság őrült űrhajó", "cp1250"),
    ("Отпуск", "cp1251"),
    ("Отпуск составляет 28 дней", "iso8859_5"),
    ("naïve œuvre à 20 €", "iso8859_15"),
    ("返金", "shift_jis"),
)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "年假为二十八天。员工必须提前申请。",
        "年次休暇は二十八日です。カタカナ",
        "วันหยุดประจำปีคือยี่สิบแปดวัน",
        "연차휴가는이십팔일입니다",
        "Отпуск",
        "مدة الإجازة",
    ],
)
def test_wide_characters_without_zero_bytes(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "a.txt")[0] == text
    assert decode(text.encode(), "a.txt") == (text, [])


@pytest.mark.parametrize(("text", "encoding"), [("年次休暇は二十八日です", "iso2022_jp"), ("연차 휴가", "iso2022_kr")])
def test_escapes_between_two_alphabets(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "a.txt") == (text, [])
    assert decode(b"\x1b[31mred\x1b[0m costs $B", "a.log")[0].endswith("costs $B")


@pytest.mark.parametrize(("text", "encoding"), SENTENCES)
def test_short_texts_without_a_declaration(text: str, encoding: str) -> None:
    read, warnings = decode(text.encode(encoding), "a.txt")
    assert read == text
    assert ["percent" in one for one in warnings] == [True]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(encoding: str) -> None:
    assert decode("Größe 数".encode(encoding), "a.txt", "text/plain; charset=latin-1") == ("Größe 数", [])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize(
    "text", ["name;Ort\r\nMüller;Köln\r\n", "编号,姓名\r\nK-1001,张三\r\n" * 3, "Возврат 28 дней.\n" * 3]
)
def test_wide_characters_without_a_mark(text: str, encoding: str) -> None:
    assert wide_encoding(text.encode(encoding)) == encoding
    assert decode(text.encode(encoding), "a.txt")[0] == text


def test_what_is_declared_counts_where_the_bytes_agree() -> None:
    russian = "Возврат"
    for declared, data, html in (
        ("text/plain; charset=koi8-r", russian.encode("koi8_r"), False),
        (None, b'<meta charset="windows-1251">' + russian.encode("cp1251"), True),
        (
            None,
            b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">' + russian.encode("cp1251"),
            True,
        ),
        (None, b'<?xml version="1.0" encoding="koi8-r"?>' + russian.encode("koi8_r"), False),
        ("text/html; charset=koi8-r", b'<meta charset="windows-1251">' + russian.encode("koi8_r"), True),
        ("text/plain; charset=nonsense", russian.encode(), False),
    ):
        text, warnings = decode(data, "a", declared, html=html)
        assert text.endswith(russian)
        assert warnings == []
    assert decode(russian.encode(), "a", "text/plain; charset=iso-8859-1") == (russian, [])
    text, warnings = decode("é".encode("cp1252"), "a", "text/plain; charset=utf-8")
    assert (text, len(warnings)) == ("é", 2)
    assert decode(b'<meta charset="utf-16">plain', "a", html=True) == ('<meta charset="utf-16">plain', [])


def test_mostly_utf_8_keeps_what_is_whole() -> None:
    text, warnings = decode("naïve café".encode() + b"\xff!", "a.txt")
    assert text == "naïve café\ufffd!"
    assert "1 unreadable" in warnings[0]


@pytest.mark.parametrize("data", [bytes(range(1, 256)) * 8, Random(1).randbytes(4_000).replace(b"\0", b"")])
def test_no_text_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ConversionError) as refused:
        decode(data, "a.txt")
    assert refused.value.code == "unknown_encoding"
