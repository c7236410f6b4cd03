"""Mails, web pages and OpenDocument files, and packages that are none of what is read."""

# ruff: noqa: E501 - documents as they are found, one element a line

import base64
import zipfile
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from openpyxl.comments import Comment

from stoa.documents.converting import Converter
from stoa.documents.types import ConversionError
from tests.support.readers import read, text_of


def zipped(**files: str | bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mail(text: str | None = "See below.", html: str | None = None, subject: str = "Offer 4711") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ada <ada@example.org>", "bob@example.org", subject
    if text is not None:
        message.set_content(text)
    if html is not None and text is not None:
        message.add_alternative(html, subtype="html")
    elif html is not None:
        message.set_content(html, subtype="html")
    return message


HTML = "<html><head><style>.x{font-family:Arial}</style></head><body><p><b>Ib</b>an ES67</p><script>evil()</script></body></html>"


async def test_a_mail_is_its_head_its_text_and_its_attachments(converter: Converter, tmp_path: Path) -> None:
    message = mail(html=HTML)
    message.add_attachment(b"zone;worth\nlighthouse;5\n", maintype="text", subtype="csv", filename="values.csv")
    document = docx.Document()
    document.add_heading("Annex", 1)
    document.add_paragraph("harbour")
    buffer = BytesIO()
    document.save(buffer)
    message.add_attachment(buffer.getvalue(), maintype="application", subtype="octet-stream", filename="annex.docx")
    message.add_attachment(mail("Forwarded words.", subject="The first offer"))
    message.add_attachment(b"\x89PNG\r\n\x1a\n" + bytes(64), maintype="image", subtype="png", filename="plan.png")
    converted = await read(converter, tmp_path, "mail.eml", message.as_bytes())
    by_heading = {passage.heading: passage.text for passage in converted.passages}
    assert by_heading["Offer 4711"].startswith("# Offer 4711\n\nFrom: Ada <ada@example.org>\nTo: bob@example.org")
    assert "See below." in by_heading["Offer 4711"]
    assert "| lighthouse | 5 |" in by_heading["values.csv"]
    assert "harbour" in by_heading["annex.docx: Annex"]
    assert "Forwarded words." in by_heading["The first offer: The first offer"]
    assert [warning.partition(" ")[0] for warning in converted.warnings] == ["plan.png"]
    assert "font-family" not in text_of(converted)


@pytest.mark.parametrize("plain", [None, "This mail is in HTML."])
async def test_the_html_of_a_mail_is_read_where_it_says_more(
    converter: Converter, tmp_path: Path, plain: str | None
) -> None:
    page = HTML.replace("ES67", "ES67 " + "and more words " * 10)
    text = text_of(await read(converter, tmp_path, "mail.eml", mail(plain, page).as_bytes()))
    assert "Iban ES67" in text
    assert not {"font-family", "evil", "in HTML"} & {one for one in ("font-family", "evil", "in HTML") if one in text}


@pytest.mark.parametrize(
    ("charset", "word"), [("iso-8859-1", "Grüße"), ("koi8-r", "Возврат"), ("gb2312", "退款"), ("iso-2022-jp", "返金")]
)
async def test_the_character_set_of_a_part_counts(
    converter: Converter, tmp_path: Path, charset: str, word: str
) -> None:
    message = EmailMessage()
    message["Subject"] = word
    message.set_content(f"{word}!", charset=charset)
    text = text_of(await read(converter, tmp_path, "mail.eml", message.as_bytes()))
    assert text.count(word) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n",
        b"Subject: x\nContent-Type: multipart/mixed\n\nhello\n",
        b"Subject: x\nContent-Type: text/plain; charset=unheard-of\n\nhello\n",
        b"Subject: =?utf-8?B?broken?=\nFrom: @,<>;\nTo: \xff\nContent-Transfer-Encoding: base64\n\naGVsbG8=hello\n",
        b"From sender Mon Jan 1 00:00:00 2024\nSubject: x\n\nhello\n",
    ],
)
async def test_a_mail_that_follows_no_standard_is_read(converter: Converter, tmp_path: Path, data: bytes) -> None:
    assert "hello" in text_of(await read(converter, tmp_path, "mail.eml", data))


async def test_html_is_what_a_reader_sees(converter: Converter, tmp_path: Path) -> None:
    page = (
        '<html><head><meta charset="windows-1251"><title>T</title></head><body><h2>Отпуск</h2><p>Про<b>ект</b> 28 дн&shy;ей</p>'
        '<img alt="a map" src="data:image/png;base64,QUJDREVG"><div hidden>secret</div><template>none</template></body></html>'
    )
    converted = await read(converter, tmp_path, "page.html", page.encode("cp1251"))
    text = text_of(converted)
    assert all(piece in text for piece in ("## Отпуск", "Проект 28 дней", "a map"))
    assert not any(piece in text for piece in ("base64", "QUJD", "secret", "none"))
    assert converted.warnings == ()


OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"
CONTENT = (
    f'<office:document-content xmlns:office="{OFFICE}office:1.0" xmlns:text="{OFFICE}text:1.0" xmlns:table="{OFFICE}table:1.0" '
    f'xmlns:draw="{OFFICE}drawing:1.0" xmlns:presentation="{OFFICE}presentation:1.0"><office:body><office:{{kind}}>{{body}}'
    "</office:{kind}></office:body></office:document-content>"
)


def opendocument(suffix: str, kind: str, body: str, **more: str) -> bytes:
    mime = f"application/vnd.oasis.opendocument.{suffix}"
    styles = "<office:styles>styleword</office:styles>"
    return zipped(
        **{"mimetype": mime, "content.xml": CONTENT.format(kind=kind, body=body), "styles.xml": styles, **more}
    )


async def test_an_open_document_without_its_mimetype_is_known_by_its_list_of_parts(
    converter: Converter, tmp_path: Path
) -> None:
    made = CONTENT.format(kind="text", body="<text:p>Hello</text:p>")
    entry = '<m:file-entry m:full-path="{}" m:media-type="{}"/>'
    parts = entry.format("content.xml", "text/xml") + entry.format("/", "application/vnd.oasis.opendocument.text")
    manifest = f'<m:manifest xmlns:m="{OFFICE}manifest:1.0">{parts}</m:manifest>'
    data = zipped(**{"content.xml": made, "META-INF/manifest.xml": manifest})
    assert text_of(await read(converter, tmp_path, "letter.odt", data)) == "Hello"
    assert text_of(await read(converter, tmp_path, "letter", data)) == "Hello"


async def test_comments_say_whose_they_are(converter: Converter, tmp_path: Path) -> None:
    comment = (
        '<office:annotation><dc:creator xmlns:dc="http://purl.org/dc/elements/1.1/">Ada Byron</dc:creator>'
        "<text:p>check this</text:p></office:annotation>"
    )
    data = opendocument("text", "text", f"<text:p>Total{comment} 28</text:p>")
    assert text_of(await read(converter, tmp_path, "a.odt", data)) == "Total (Comment (Ada Byron): check this) 28"


async def test_a_mail_that_was_sent_in_pieces_is_read_as_far_as_it_goes(converter: Converter, tmp_path: Path) -> None:
    """RFC 2046, 5.2.2: the first piece begins with the head of the whole mail, the others go on in its text."""
    head = "From: a@example.com\nSubject: {0}\nMIME-Version: 1.0\nContent-Type: message/partial; id=x; number={1}; total=2\n\n"
    first = head.format("Outside", 1) + "Subject: Minutes\nFrom: b@example.com\n\nWe met on Monday.\n"
    second = head.format("Outside", 2) + "\nAnd parted on Tuesday.\n"
    for raw, words, number in ((first, ("Minutes", "We met on Monday."), 1), (second, ("And parted on Tuesday.",), 2)):
        found = await read(converter, tmp_path, "piece.eml", raw.encode())
        assert all(word in text_of(found) for word in words)
        assert f"is part {number} of 2 of a mail that was sent in pieces" in found.warnings[0]


async def test_opendocument_files(converter: Converter, tmp_path: Path) -> None:
    body = (
        '<text:h text:outline-level="2">Leave</text:h><text:p>Pro<text:span>ject</text:span><text:s/>one'
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p></text:note-body></text:note></text:p>"
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        "<text:list><text:list-item><text:p>first</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p>"
        '</table:table-cell></table:table-row><table:table-row><table:table-cell table:number-columns-spanned="2"><text:p>both</text:p>'
        "</table:table-cell><table:covered-table-cell/></table:table-row></table:table>"
    )
    text = text_of(await read(converter, tmp_path, "letter.odt", opendocument("text", "text", body)))
    for piece in ("## Leave", "Project one (a note)", "- first", "| a | b |", "| both | both |"):
        assert piece in text
    assert "deleted" not in text
    assert "styleword" not in text
    slide = (
        "<draw:page><draw:frame><draw:text-box><text:p>Plan {}</text:p></draw:text-box></draw:frame>"
        "<presentation:notes><draw:frame><draw:text-box><text:p>say it</text:p></draw:text-box></draw:frame></presentation:notes></draw:page>"
    )
    shown = await read(
        converter, tmp_path, "talk.odp", opendocument("presentation", "presentation", slide.format(1) + slide.format(2))
    )
    assert shown.pages == 2
    assert [(one.page, "Speaker notes:\n\nsay it" in one.text) for one in shown.passages] == [(1, True), (2, True)]
    sheet = (
        '<table:table table:name="Prices"><table:table-row><table:table-cell office:value-type="string"><text:p>zip</text:p></table:table-cell>'
        '<table:table-cell table:number-columns-repeated="16000"/></table:table-row><table:table-row><table:table-cell office:value-type="float">'
        '<text:p>01067</text:p></table:table-cell></table:table-row><table:table-row table:number-rows-repeated="1000000"><table:table-cell/>'
        "</table:table-row></table:table>"
    )
    [prices] = (await read(converter, tmp_path, "p.ods", opendocument("spreadsheet", "spreadsheet", sheet))).passages
    assert (prices.text, prices.sheet) == ("## Prices\n\n| zip |\n| --- |\n| 01067 |", "Prices")


async def test_opendocument_margins_and_other_producers(converter: Converter, tmp_path: Path) -> None:
    """Headers and footers, each text once; cells that hold a value and no text; counts that are no numbers."""
    styles = (
        f'<office:document-styles xmlns:office="{OFFICE}office:1.0" xmlns:style="{OFFICE}style:1.0" '
        f'xmlns:text="{OFFICE}text:1.0"><office:master-styles>'
        "<style:master-page><style:header><text:p>Contract 4711</text:p></style:header>"
        "<style:header-first><text:p>Draft</text:p></style:header-first><style:footer><text:p>Page</text:p></style:footer>"
        '<style:footer-left style:display="false"><text:p>unused</text:p></style:footer-left></style:master-page>'
        "<style:master-page><style:header><text:p>Contract 4711</text:p></style:header></style:master-page>"
        "</office:master-styles></office:document-styles>"
    )
    body = '<text:h text:outline-level="x">Leave</text:h><text:p>28 days</text:p>'
    letter = await read(converter, tmp_path, "a.odt", opendocument("text", "text", body, **{"styles.xml": styles}))
    assert text_of(letter) == "# Leave\n\n28 days\n\nHeader: Contract 4711\n\nHeader: Draft\n\nFooter: Page"
    sheet = (
        '<table:table><table:table-row><table:table-cell office:value-type="float" office:value="12.5"/>'
        '<table:table-cell office:value-type="date" office:date-value="2026-11-30" table:number-columns-repeated="-1"/>'
        '<table:table-cell office:value-type="boolean" office:boolean-value="true" table:number-rows-spanned="9999999999999"/>'
        "</table:table-row></table:table>"
    )
    values = await read(converter, tmp_path, "v.ods", opendocument("spreadsheet", "spreadsheet", sheet))
    assert "| 12.5 | 2026-11-30 | true |" in text_of(values)


TYPES = '<Types><Override PartName="/a.xml" ContentType="application/{}"/></Types>'


@pytest.mark.parametrize(
    ("name", "data", "code", "what"),
    [
        ("a.odg", opendocument("graphics", "drawing", ""), "unsupported_format", "graphics"),
        ("a.odt", opendocument("text", "text", "", **{"META-INF/manifest.xml": "<encryption-data/>"}), "encrypted_file", "password"),
        ("a.odt", zipped(mimetype="application/vnd.oasis.opendocument.text"), "corrupt_file", "ODT"),
        ("a.jar", zipped(**{"META-INF/MANIFEST.MF": "x", "a.txt": "text"}), "unsupported_format", "Java"),
        ("a.pages", zipped(**{"Index/Document.iwa": "x", "a.txt": "text"}), "unsupported_format", "iWork"),
        ("a.xlsb", zipped(**{"[Content_Types].xml": TYPES.format("vnd.ms-excel.sheet.binary.macroEnabled.main")}), "unsupported_format", "XLSB"),
        ("a.vsdx", zipped(**{"[Content_Types].xml": TYPES.format("vnd.ms-visio.drawing.main+xml")}), "unsupported_format", "Visio"),
    ],
)  # fmt: skip
async def test_a_package_that_is_not_read_is_refused_as_what_it_is(
    converter: Converter, tmp_path: Path, name: str, data: bytes, code: str, what: str
) -> None:
    with pytest.raises(ConversionError) as refused:
        await read(converter, tmp_path, name, data)
    assert (refused.value.code, what in refused.value.message) == (code, True)


@pytest.mark.parametrize(
    "text", ["A PDF file starts with %PDF-1.7.", "ID3 tags are for music.", "Rar! is a mark.", "BM MZ OggS"]
)
async def test_words_about_formats_are_text(converter: Converter, tmp_path: Path, text: str) -> None:
    for name in ("notes.md", "notes.txt"):
        assert text_of(await read(converter, tmp_path, name, text.encode())) == text


async def test_office_files_are_read_beyond_their_body(converter: Converter, tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Project")
    paragraph.add_run("number").bold = True
    paragraph.add_run(" 4711 ")
    paragraph.add_run("contractu").underline = True
    paragraph.add_run("al term")
    document.sections[0].header.paragraphs[0].text = "Form QM-0815"
    buffer = BytesIO()
    document.save(buffer)
    text = text_of(await read(converter, tmp_path, "form.docx", buffer.getvalue()))
    assert all(piece in text for piece in ("Projectnumber 4711 contractual term", "Header: Form QM-0815"))
    presentation = pptx.Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.notes_slide.notes_text_frame.text = f"say this {number}"
    buffer = BytesIO()
    presentation.save(buffer)
    shown = await read(converter, tmp_path, "talk.pptx", buffer.getvalue())
    assert [(one.page, f"Speaker notes:\n\nsay this {one.page}" in one.text) for one in shown.passages] == [
        (1, True),
        (2, True),
    ]
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "place"
    workbook.active["A1"].comment = Comment("ask the harbour", "Ada")
    buffer = BytesIO()
    workbook.save(buffer)
    assert "Comment: ask the harbour" in text_of(await read(converter, tmp_path, "places.xlsx", buffer.getvalue()))


MAILS = (
    (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; format=flowed; delsp=yes\n\nThis lo \nng line\n", ("# Grüße", "This long line")),
    ("Subject: Grüße aus Köln\n\nStraße\n".encode("latin-1"), ("# Grüße aus Köln", "Straße")),
    (b"Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=B\n\n--B\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nStatus: lostword\n--B\nContent-Type: text/rfc822-headers\n\nX-Of: headword\n--B--\n", ("lostword", "headword")),
)  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), MAILS)
async def test_mails_as_programs_write_them(converter: Converter, tmp_path: Path, data: bytes, expected: tuple[str, ...]) -> None:  # fmt: skip
    text = text_of(await read(converter, tmp_path, "mail.eml", data))
    assert all(piece in text for piece in expected)


async def test_an_archive_in_a_mail_is_read_once(converter: Converter, tmp_path: Path) -> None:
    inner = mail("Inner.")
    inner.add_attachment(zipped(**{"deep.txt": "deepword"}), maintype="application", subtype="zip", filename="deep.zip")
    outer = mail()
    files = zipped(**{"a.txt": "zipword", "inner.eml": inner.as_bytes()})
    outer.add_attachment(files, maintype="application", subtype="zip", filename="files.zip")
    converted = await read(converter, tmp_path, "mail.eml", outer.as_bytes())
    headings = {passage.heading for passage in converted.passages}
    assert {"files.zip/a.txt", "files.zip/inner.eml: Offer 4711"} <= headings
    assert "deepword" not in text_of(converted)
    assert "deep.zip" in converted.warnings[0]


async def test_a_mailbox_is_its_mails(converter: Converter, tmp_path: Path) -> None:
    box = b"".join(
        b"From a@b Mon Jan  1 00:00:00 2024\n" + mail(f"Text {n}.", subject=f"Mail {n}").as_bytes() + b"\n"
        for n in (1, 2)
    )
    converted = await read(converter, tmp_path, "all.mbox", box)
    assert [(one.heading, f"Text {n}." in one.text) for n, one in enumerate(converted.passages, 1)] == [
        ("mail 1: Mail 1", True),
        ("mail 2: Mail 2", True),
    ]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>Pro<a href='/x'>jekt</a>num<code>mer</code></p>", "Projektnummer"),
        ("<p>see <a href='/x'>this</a></p>", "see [this](/x)"),
        ("<p>use <code>foo_bar</code>, __init__ and 2*3*4</p>", "use `foo_bar`, __init__ and 2*3*4"),
        ("<table><tr><th colspan=2>both<th>c<tr><td rowspan=2>R<td>1<td>2<tr><td>3<td>4</table>", "| R | 3 | 4 |"),
        ("<form><input value='typed'><input type=hidden value=token><textarea>told</textarea></form>", "typed told"),
        ("<p>super<wbr>long</p>", "superlong"),
        (
            "<ul><li>\n <a href='/f'><svg><title>icon</title></svg>\n </a></li><li> <img src=x> </li><li>kept</li></ul>",
            "- kept",
        ),
        ("<h2> <img src=x alt='A map'> </h2><p>a<p><img src=y alt='(1) Two'> ", "![A map](x)"),
        ("<header><p>by Ada</p></header><nav>token</nav><aside class=sidebar>a note</aside>", "by Ada a note"),
        ("<p><ruby>確<rp>(</rp><rt>しか</rt><rp>)</rp></ruby>と</p>", "確(しか)と"),
        (
            "<svg><title>token</title><text><tspan y=1>Sous le</tspan><tspan y=2>vent</tspan></text></svg>",
            "Sous le vent",
        ),
        ("<svg><foreignObject><p>boxed</p></foreignObject></svg>", "boxed"),
    ],
)
async def test_words_of_html_are_whole(converter: Converter, tmp_path: Path, page: str, expected: str) -> None:
    text = text_of(await read(converter, tmp_path, "a.html", page.encode()))
    assert expected in " ".join(text.split())
    assert "token" not in text


async def test_a_book_in_the_order_of_its_spine(converter: Converter, tmp_path: Path) -> None:
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>{0}</h1><p>Text of {0}</p></body></html>".format
    book = zipped(
        **{
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/b.opf"/></rootfiles></container>',
            "OPS/b.opf": '<package><manifest><item id="z" href="t/a%20b.xhtml" media-type="application/xhtml+xml"/><item id="y" href="c.xhtml" media-type="application/xhtml+xml"/><item id="x" href="lost.xhtml"/></manifest><spine><itemref idref="y"/><itemref idref="z"/><itemref idref="x"/></spine></package>',
            "OPS/t/a b.xhtml": page("Second"),
            "OPS/c.xhtml": page("First"),
        }
    )
    converted = await read(converter, tmp_path, "book.epub", book)
    assert text_of(converted).split("\n\n")[:2] == ["# First", "Text of First"]
    assert "# Second" in text_of(converted)
    assert "OPS/lost.xhtml" in converted.warnings[0]


async def test_a_page_of_a_book_that_is_a_picture_is_read_in_its_other_form(
    converter: Converter, tmp_path: Path
) -> None:
    book = zipped(
        **{
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>',
            "b.opf": '<package><manifest><item id="p" href="p.png" media-type="image/png" fallback="t"/><item id="t" href="t.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="p"/></spine></package>',
            "p.png": "no text",
            "t.xhtml": "<html><body><p>A apple pie</p></body></html>",
        }
    )
    converted = await read(converter, tmp_path, "book.epub", book)
    assert (text_of(converted), converted.warnings) == ("A apple pie", ())


def workbook(strings: str, cells: str, separator: str = "/") -> bytes:
    """A minimal workbook; some archivers write backslashes and small letters."""
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    parts = {
        "[Content_Types].xml": f'<Types><Override PartName="/xl/workbook.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": f'<R><Relationship Id="a" Type="{kind}officeDocument" Target="xl/workbook.xml"/></R>',
        "xl/workbook.xml": f'<workbook xmlns:r="{kind[:-1]}"><sheets><sheet name="S" r:id="a"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<R><Relationship Id="a" Type="{kind}worksheet" Target="s.xml"/><Relationship Id="b" Type="{kind}sharedStrings" Target="t.xml"/></R>',
        "xl/s.xml": f"<worksheet><sheetData><row r='1'>{cells}</row></sheetData></worksheet>",
        "xl/t.xml": strings,
    }
    names = {name: name.replace("/", separator) for name in parts}
    if separator != "/":
        names = {name: shown.lower() for name, shown in names.items()}
    return zipped(**{names[name]: content for name, content in parts.items()})


async def test_workbooks_of_other_producers(converter: Converter, tmp_path: Path) -> None:
    shared = "<sst><si><t>bolt</t></si></sst>"
    cells = '<c r="A1" t="inlineStr"><is><t><![CDATA[nut & bolt]]></t></is></c><c r="B1" t="s"><v>0</v></c>'
    for separator in "/\\":
        converted = await read(converter, tmp_path, "a.xlsx", workbook(shared, cells, separator))
        assert "| nut & bolt | bolt |" in text_of(converted)
        assert converted.warnings == ()
    for broken in ("<sst><si><t>bolt</t></si><si>", '<!DOCTYPE s [<!ENTITY a "b">]><sst/>'):
        converted = await read(converter, tmp_path, "a.xlsx", workbook(broken, cells))
        assert "nut & bolt" in text_of(converted)
        assert "its list of texts is damaged" in converted.warnings[0]


async def test_mails_within_mails_as_other_programs_send_them(converter: Converter, tmp_path: Path) -> None:
    inner = b"Subject: Inner offer\n\nThe price is 4711.\n"
    for kind, encoding, body in (
        ("message/news", "7bit", inner),
        ("message/rfc822", "base64", base64.encodebytes(inner)),
    ):
        head = b"Subject: Outer\nContent-Type: multipart/mixed; boundary=x\n\n--x\n"
        part = f"Content-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
        converted = await read(converter, tmp_path, "a.eml", head + part + body + b"\n--x--\n")
        assert "The price is 4711." in text_of(converted), (kind, encoding)
        assert converted.warnings == ()


async def test_the_text_in_place_of_a_picture_of_an_odt(converter: Converter, tmp_path: Path) -> None:
    body = "<text:p>Logo<draw:frame><draw:image/><svg:title>Our lighthouse</svg:title></draw:frame></text:p>"
    spaces = ' xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"'
    converted = await read(
        converter,
        tmp_path,
        "a.odt",
        opendocument("text", "text", body.replace("<draw:frame>", f"<draw:frame{spaces}>")),
    )
    assert "![Our lighthouse]()" in text_of(converted)


async def test_unreadable_characters_are_reported(converter: Converter, tmp_path: Path) -> None:
    converted = await read(converter, tmp_path, "a.rtf", b"{\\rtf1\\ansi half \\u-3\\'3f of it.\\par}")
    assert "\ufffd" in text_of(converted)
    assert "could not be read" in converted.warnings[0]
