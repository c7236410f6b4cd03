"""The name and media type of an uploaded file."""

import mimetypes
import re
import unicodedata
from typing import Final

from stoa.kernel.errors import BadRequest

FILE_NAME_CHARACTERS_MAX: Final = 255


def file_name(offered: str | None, field: str = "file") -> str:
    """The name without path and control characters. Raises BadRequest naming `field` when nothing is left."""
    name = re.split(r"[\\/]", offered or "")[-1]
    name = "".join(
        character for character in unicodedata.normalize("NFC", name) if unicodedata.category(character)[0] != "C"
    ).strip()
    if not name or name in (".", ".."):
        raise BadRequest.field(field, "needs a file name")
    if len(name) > FILE_NAME_CHARACTERS_MAX:
        raise BadRequest.field(field, f"has a name over {FILE_NAME_CHARACTERS_MAX} characters")
    return name


def mime_type(name: str, offered: str | None) -> str:
    """The client's media type; if it is missing or generic, the one of the file name's extension."""
    offered = (offered or "").split(";")[0].strip().lower()
    if (
        re.fullmatch(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", offered)
        and offered != "application/octet-stream"
    ):
        return offered
    return mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"
