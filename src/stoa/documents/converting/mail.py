"""Reads mails with Python's own parser: the header, the text, and every attachment as a document with its own reader.

Runs in the converting process only.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Final, TypeAlias

from stoa.documents.converting import charsets
from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError

PARTS_MAX: Final = 1_000
DEPTH_MAX: Final = 8
"""The limit of nested forwarded mails."""
_PARTIAL: Final = "message/partial"
_MAILS: Final = frozenset({"message/rfc822", "message/global", "message/news", _PARTIAL})
_HEADERS: Final = ("From", "To", "Cc", "Date")
_RAW_BYTES: Final = re.compile("[\udc80-\udcff]")
"""How Python's parser represents non-ASCII bytes."""
_MBOX_START: Final = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\r\n]*\r?\n")
_SIGNATURE: Final = b"-- "
_WORDS: Final = re.compile(r"\w+")

ReadPart: TypeAlias = Callable[[bytes, str, str | None], tuple[list[Page], list[str]]]
"""Reads a part by its content, name and Content-Type. Raises ConversionError."""


@dataclass(frozen=True, slots=True)
class _Part:
    """`is_body`: the part is the mail's text, not an attachment."""

    message: EmailMessage
    name: str
    is_body: bool


def mail_pages(data: bytes, name: str, read: ReadPart) -> tuple[list[Page], list[str]]:
    """The mail, then each attachment with its name as the page's part; and warnings about what could not be read.

    Raises:
        ConversionError: `corrupt_file`, or `too_large` for more than 1,000 parts.
    """
    try:
        message = BytesParser(policy=policy.default).parsebytes(data)
        assert isinstance(message, EmailMessage)
        return _pages(message, name, read, 0)
    except (MessageError, RecursionError) as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as a mail.") from error


def mailbox_pages(data: bytes, name: str, read: ReadPart) -> tuple[list[Page], list[str]]:
    """Every mail of an mbox file, each a document of its own under its subject. Raises ConversionError."""
    starts = [found.end() for found in _MBOX_START.finditer(data)]
    ends = [*(found.start() for found in _MBOX_START.finditer(data)), len(data)][1:]
    if not starts:
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as a mailbox.")
    if len(starts) > PARTS_MAX:
        raise ConversionError("too_large", f"{name} holds {len(starts):,} mails; at most {PARTS_MAX:,} are read.")
    pages: list[Page] = []
    warnings: list[str] = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        found, more = mail_pages(data[start:end], f"mail {number} of {name}", read)
        pages += [replace(page, part=_path(f"mail {number}", page.part)) for page in found]
        warnings += more
    return pages, warnings


def _pages(message: EmailMessage, name: str, read: ReadPart, depth: int) -> tuple[list[Page], list[str]]:
    parts = list(_parts(message))
    if len(parts) > PARTS_MAX:
        raise ConversionError("too_large", f"{name} holds {len(parts):,} parts; at most {PARTS_MAX:,} are read.")
    texts: list[str] = [_head(message)]
    attached: list[Page] = []
    warnings: list[str] = []
    for part in parts:
        try:
            if part.message.get_content_type() in _MAILS:
                found, more = _forwarded(part, read, depth)
            else:
                found, more = _read(part.message, part.name, read)
        except ConversionError as error:
            warnings.append(error.message)
            continue
        warnings += more
        if part.is_body:
            texts += [page.markdown for page in found]
        else:
            attached += [replace(page, part=_path(part.name, page.part), number=page.number) for page in found]
    return [Page("\n\n".join(text for text in texts if text.strip()), None), *attached], warnings


def _path(name: str, inside: str | None) -> str:
    return f"{name}/{inside}" if inside else name


def _head(message: EmailMessage) -> str:
    """The subject as heading, so that searches find every passage of the mail by it; sender, receivers and date
    below."""
    subject = _header(message, "Subject")
    lines = [f"{one}: {value}" for one in _HEADERS if (value := _header(message, one))]
    return "\n\n".join(([f"# {subject}"] if subject else []) + (["\n".join(lines)] if lines else []))


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message[name]
    except (
        ValueError,
        IndexError,
        AttributeError,
    ):  # Python's address parser fails on some malformed headers.
        value = next((raw for key, raw in message.raw_items() if key.lower() == name.lower()), None)
    text = str(value) if value is not None else ""
    if "\ufffd" in text or _RAW_BYTES.search(text):
        text = _guessed(message, name) or text
    return " ".join(text.split())


def _guessed(message: EmailMessage, name: str) -> str | None:
    """A header with undeclared 8-bit bytes, as some programs write it."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    try:
        return charsets.decode(str(raw).encode("utf-8", "surrogateescape"), name)[0]
    except (ConversionError, UnicodeEncodeError):
        return None


def _parts(message: EmailMessage) -> Iterator[_Part]:
    """The leaf parts in order: one of several alternatives, and every attachment that is not an inline ornament."""
    kind = message.get_content_type()
    if message.is_multipart() and not kind.startswith("message/"):
        inner = [one for one in message.iter_parts() if isinstance(one, EmailMessage)]
        if kind == "multipart/alternative":
            inner = _chosen(inner)
        for one in inner:
            yield from _parts(one)
        return
    if kind.startswith("multipart/"):  # Without a boundary it is plain text.
        kind = "text/plain"
    name = message.get_filename() or ""
    is_text = kind.startswith("text/") or kind == "message/delivery-status"
    if not message.is_attachment() and not name and is_text:
        yield _Part(message, _body_name(kind), is_body=True)
    elif message.get_content_maintype() == "image" and not message.is_attachment():
        return  # A logo or a signature, shown inside the text.
    else:
        yield _Part(message, name or _unnamed(message, kind), is_body=False)


def _body_name(kind: str) -> str:
    return "the mail's text" + {"text/html": ".html", "text/markdown": ".md"}.get(kind, ".txt")


def _unnamed(message: EmailMessage, kind: str) -> str:
    if kind in _MAILS:
        inner = _inner(message)
        subject = _header(inner, "Subject") if inner is not None else ""
        return subject or "forwarded mail"
    return "attachment"


def _chosen(parts: list[EmailMessage]) -> list[EmailMessage]:
    """Of alternatives the plain text, unless the HTML has more: some plain texts only say that there is HTML."""
    plain = [one for one in parts if one.get_content_type() == "text/plain"]
    others = [one for one in parts if one.get_content_type() != "text/plain" and not _is_calendar(one)]
    if not plain or not others:
        return parts[-1:]
    said = len(_WORDS.findall(_payload(plain[0]).decode("utf-8", "replace")))
    shown = len(_WORDS.findall(re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", _html_of(others[-1]))))
    return plain[:1] if said * 2 >= shown else others[-1:]


def _is_calendar(part: EmailMessage) -> bool:
    return part.get_content_type() == "text/calendar"


def _html_of(part: EmailMessage) -> str:
    leaves = part.walk() if part.is_multipart() else [part]
    html = next((one for one in leaves if one.get_content_type() == "text/html"), None)
    return _payload(html).decode("utf-8", "replace") if isinstance(html, EmailMessage) else ""


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _read(part: EmailMessage, name: str, read: ReadPart) -> tuple[list[Page], list[str]]:
    if part.is_multipart():  # A delivery report: blocks of headers.
        data = b"\n\n".join(bytes(one) for one in part.iter_parts())
    else:
        data = _unflowed(part, _payload(part))
    if not data.strip():
        return [], []
    charset = part.get_content_charset()
    kind = part.get_content_type()
    return read(data, name, f"{kind}; charset={charset}" if charset else kind)


def _unflowed(part: EmailMessage, data: bytes) -> bytes:
    """Rejoins lines that the sender's program broke (format=flowed, RFC 3676)."""
    if part.get_content_type() != "text/plain" or str(part.get_param("format", "")).lower() != "flowed":
        return data
    keeps_space = str(part.get_param("delsp", "no")).lower() != "yes"
    found: list[bytes] = []
    goes_on = False
    for line in data.replace(b"\r\n", b"\n").split(b"\n"):
        text = line[1:] if line.startswith(b" ") else line
        if goes_on and not text.startswith(b">"):
            found[-1] += text
        else:
            found.append(text)
        goes_on = text.endswith(b" ") and text != _SIGNATURE and not text.startswith(b">")
        if goes_on and not keeps_space:
            found[-1] = found[-1][:-1]
    return b"\n".join(found)


def _forwarded(part: _Part, read: ReadPart, depth: int) -> tuple[list[Page], list[str]]:
    if depth >= DEPTH_MAX:
        raise ConversionError("too_large", f"{part.name} is a mail within {DEPTH_MAX} others; it was left out.")
    inner = _inner(part.message)
    if inner is None:
        return [], []
    pages, warnings = _pages(inner, part.name, read, depth + 1)
    if part.message.get_content_type() == _PARTIAL:
        number, total = (part.message.get_param(one) for one in ("number", "total"))
        of = f" of {total}" if total else ""
        warnings = [f"{part.name} is part {number}{of} of a mail that was sent in pieces.", *warnings]
    return pages, warnings


def _inner(message: EmailMessage) -> EmailMessage | None:
    """The mail within a part. Some programs transfer-encode it, which the standard forbids and Python's parser does not
    expect."""
    inner = next(iter(message.iter_parts()), None)
    if not isinstance(inner, EmailMessage):
        return None
    encoding = str(message.get("Content-Transfer-Encoding", "")).strip().lower()
    if inner.keys() or encoding != "base64":
        return inner
    text = inner.get_payload()
    data = text.encode("ascii", "replace") if isinstance(text, str) else b""
    try:
        decoded = base64.b64decode(data)
    except binascii.Error:
        return inner
    return BytesParser(policy=policy.default).parsebytes(decoded)
